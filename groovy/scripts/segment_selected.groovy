/*
 * 1. placeholder
 */
println "x"
