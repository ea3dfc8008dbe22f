package io.github.qupathsam.client;

import java.util.List;
import java.util.stream.IntStream;

/**
 * Planes of a stack around one of them, along z or t, from 0.
 *
 * @param at the plane to begin with
 * @param first the lowest
 * @param last the highest, included
 */
public record PlaneRange(int at, int first, int last) {
    public PlaneRange {
        if (first < 0 || first > at || at > last) {
            throw NamedValues.invalid("planes " + first + " to " + last + " do not lie around plane " + at + "; give others");
        }
        if (first == last) {
            throw NamedValues.invalid("there is one plane alone: none to carry an outline to");
        }
    }

    /** The same for scripts, which compile without this class where they do not name it after {@code new}. */
    public static PlaneRange of(int at, int first, int last) {
        return new PlaneRange(at, first, last);
    }

    /** Upwards and downwards, without the plane to begin with. */
    List<List<Integer>> ways() {
        return List.of(
                IntStream.rangeClosed(at + 1, last).boxed().toList(),
                IntStream.rangeClosed(first, at - 1).map(plane -> at - 1 + first - plane).boxed().toList());
    }

    /** How many planes there are beside the one to begin with. */
    int count() {
        return last - first;
    }
}
