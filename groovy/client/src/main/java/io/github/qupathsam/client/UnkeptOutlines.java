package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.function.Function;
import java.util.stream.Collectors;

/** What a person is asked before QuPath ends with outlines that are in no image. */
public final class UnkeptOutlines {
    private UnkeptOutlines() {}

    /**
     * The question; empty where nothing would be lost.
     *
     * @param clicked names of the images with an outline that is neither kept nor dropped, once for each
     * @param unanswered how many are kept and wait for the server's answer
     * @param closed names of closed images with an outline that was kept, once for each
     */
    public static String question(Collection<String> clicked, int unanswered, Collection<String> closed) {
        List<String> said = new ArrayList<>();
        if (!clicked.isEmpty()) {
            said.add("Outlines that are neither kept nor dropped: " + listed(clicked) + ".");
        }
        if (unanswered > 0) {
            said.add("Outlines that you kept and that the server has not answered: " + unanswered + ".");
        }
        if (!closed.isEmpty()) {
            said.add("Outlines that you kept, of images that are closed: " + listed(closed) + ". They are added when you open these.");
        }
        if (said.isEmpty()) {
            return "";
        }
        said.add("They are lost when QuPath ends. End it all the same?");
        return String.join("\n", said);
    }

    /** Each name once, with how often it is there where that is more than once. */
    private static String listed(Collection<String> names) {
        return names.stream()
                .collect(Collectors.groupingBy(Function.identity(), LinkedHashMap::new, Collectors.counting()))
                .entrySet().stream()
                .map(each -> each.getValue() == 1 ? each.getKey() : each.getKey() + " (" + each.getValue() + ")")
                .collect(Collectors.joining(", "));
    }
}
