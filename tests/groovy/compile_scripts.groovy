/*
 * Compiles scripts against QuPath's own jars as its script editor would, without running them: args = files.
 */
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.MultipleCompilationErrorsException
import org.codehaus.groovy.control.customizers.ImportCustomizer
import qupath.lib.gui.scripting.QPEx

def imports = new ImportCustomizer()
QPEx.getCoreClasses().each { imports.addImports(it.getName()) }
imports.addStaticStars(QPEx.getName())
def configuration = new CompilerConfiguration()
configuration.addCompilationCustomizers(imports)
args.each { path ->
    try {
        new GroovyClassLoader(this.class.classLoader, configuration).parseClass(new File(path))
        println "compiled ${new File(path).getName()}"
    } catch (MultipleCompilationErrorsException wrong) {
        println "FAILED ${new File(path).getName()}: ${wrong.getMessage()}"
    }
}
