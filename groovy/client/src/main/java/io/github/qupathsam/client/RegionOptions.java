package io.github.qupathsam.client;

import java.util.Map;
import java.util.Set;

/**
 * How all objects of a region are found, and which of them are wanted.
 *
 * <p>Lengths are um and areas um2; on images without a pixel size they are level-0 px and px2. What is null or 0 is left to the server.
 *
 * @param model empty takes the server's default
 * @param prompting how objects are looked for; by examples where there are some, whatever is said here
 * @param objects which are meant, where no examples say it
 * @param effort the best outlines, or fewer of them sooner
 * @param spacing of the clicks of a grid
 * @param minStability least stability of a grid's masks, 0 to 1
 * @param minScore least score, 0 to 1
 * @param minLikeness to the examples, 0 to 1
 * @param minObjectArea smaller objects are left out
 * @param maxObjectArea larger ones too
 * @param leaveOutBorder leaves out what crosses the border of the region
 * @param cut cuts what reaches out of the region, and takes what reaches into it
 * @param searchBackground looks where there is no tissue too
 * @param downsample level-0 px per tile px. At most one of downsample and mpp
 * @param mpp um per tile px
 * @param fillHoles holes up to this area are filled
 * @param simplify how far an outline may move to have fewer vertices
 */
public record RegionOptions(
        String model,
        Prompting prompting,
        ObjectKind objects,
        Effort effort,
        Double spacing,
        Double minStability,
        Double minScore,
        Double minLikeness,
        double minObjectArea,
        double maxObjectArea,
        boolean leaveOutBorder,
        boolean cut,
        boolean searchBackground,
        double downsample,
        double mpp,
        double fillHoles,
        double simplify) {

    /** How objects are looked for. */
    public enum Prompting {
        /** By the model itself where it can, else by a grid. */
        ANY,
        GRID,
        AUTOMATIC
    }

    /** Which objects are meant: the scale at which the region is looked at suits them. */
    public enum ObjectKind {
        NUCLEI,
        GLANDS
    }

    /** What it may cost. */
    public enum Effort {
        BEST,
        FAST
    }

    private static final Set<String> NAMES = Set.of(
            "model", "prompting", "objects", "effort", "spacing", "minStability", "minScore", "minLikeness", "minObjectArea", "maxObjectArea",
            "leaveOutBorder", "cut", "searchBackground", "downsample", "mpp", "fillHoles", "simplify");

    public RegionOptions {
        if (downsample > 0 && mpp > 0) {
            throw NamedValues.invalid("give downsample or mpp, not both");
        }
    }

    /** From named values, as Groovy writes them: {@code RegionOptions.of(minObjectArea: 10, effort: 'fast')}. */
    public static RegionOptions of(Map<String, ?> given) {
        NamedValues values = new NamedValues(given, NAMES);
        return new RegionOptions(
                values.text("model"),
                values.one("prompting", Prompting.class),
                values.one("objects", ObjectKind.class),
                values.one("effort", Effort.class),
                values.number("spacing"),
                values.number("minStability"),
                values.number("minScore"),
                values.number("minLikeness"),
                values.number("minObjectArea", 0),
                values.number("maxObjectArea", 0),
                values.truth("leaveOutBorder"),
                values.truth("cut"),
                values.truth("searchBackground"),
                values.number("downsample", 0),
                values.number("mpp", 0),
                values.number("fillHoles", 0),
                values.number("simplify", 0));
    }
}
