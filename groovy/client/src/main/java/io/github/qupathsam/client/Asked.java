package io.github.qupathsam.client;

import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.function.Function;

/**
 * What a server is asked about, as it is when it is asked: an image, and objects of it.
 *
 * <p>The answer may come minutes later. Meanwhile a person opens another image, edits and deletes objects, or takes a step back: QuPath then
 * puts a copy of every object, with the same id, in the place of all. So the answer is written to the image that was asked about, and
 * only what is as it was is replaced.
 *
 * @param <I> the caller's images (QuPath's ImageData)
 */
public final class Asked<I> {
    private final I image;
    private final boolean wasOpen;
    private final Map<?, ?> states;

    private Asked(I image, boolean wasOpen, Map<?, ?> states) {
        this.image = image;
        this.wasOpen = wasOpen;
        this.states = states;
    }

    /**
     * @param open the images that viewers show
     * @param isRun a run over a project, or without a window, has opened the image, and saves it; else a viewer showed it when the script
     *     began, though a person may have turned to another since
     * @param states of the objects, by id: two states of an object are equal where an answer to the one holds for the other
     */
    public static <I> Asked<I> about(I image, Collection<? extends I> open, boolean isRun, Map<?, ?> states) {
        return new Asked<>(image, !isRun || isAmong(open, image), new LinkedHashMap<>(states));
    }

    /** Whether a viewer showed the image. */
    public boolean wasOpen() {
        return wasOpen;
    }

    /**
     * The image that the answer is written to: the one that was asked about, or the same one where it has been closed and opened again.
     *
     * @param open the images that viewers show now
     * @param identity equal for an image that is opened twice
     * @param name of the image, for a person
     * @throws IllegalStateException where no viewer shows it any more: what is written to it then is lost
     */
    public I image(Collection<? extends I> open, Function<? super I, ?> identity, Function<? super I, String> name) {
        if (!wasOpen || isAmong(open, image)) {
            return image;
        }
        Object wanted = identity.apply(image);
        for (I other : open) {
            if (wanted != null && wanted.equals(identity.apply(other))) {
                return other;
            }
        }
        throw new IllegalStateException("'" + name.apply(image) + "' was closed before the answer came, so nothing has been written to it. "
                + "Open it, and run the same again.");
    }

    /**
     * The objects that were asked about and are as they were, by id.
     *
     * @param now all objects of the image
     */
    public <T> Map<Object, T> asTheyWere(Collection<T> now, Function<? super T, ?> id, Function<? super T, ?> state) {
        Map<Object, T> same = new LinkedHashMap<>();
        for (T object : now) {
            Object key = id.apply(object);
            if (states.containsKey(key) && Objects.equals(states.get(key), state.apply(object))) {
                same.put(key, object);
            }
        }
        return same;
    }

    private static boolean isAmong(Collection<?> open, Object image) {
        return open.stream().anyMatch(each -> each == image);
    }
}
