package io.github.qupathsam.client;

import java.util.ArrayList;
import java.util.List;

/**
 * What is said about one object; a value, every method makes a new one.
 *
 * <pre>{@code
 * Prompts.click(120.5, 80.5).remove(140.5, 90.5)
 * Prompts.box(100, 60, 180, 130).named('gland 1')
 * Prompts.outline(wkb)
 * }</pre>
 */
public final class Prompts {
    private final String name;
    private final List<Click> clicks;
    private final double[] box;
    private final byte[] outline;
    private final byte[] token;

    private Prompts(String name, List<Click> clicks, double[] box, byte[] outline, byte[] token) {
        this.name = name;
        this.clicks = List.copyOf(clicks);
        this.box = box;
        this.outline = outline;
        this.token = token;
    }

    private static final Prompts NONE = new Prompts("", List.of(), null, null, new byte[0]);

    /** A click in the object, level-0 px. */
    public static Prompts click(double x, double y) {
        return NONE.add(x, y);
    }

    /** Several clicks and scribbles, in order. */
    public static Prompts of(List<Click> clicks) {
        return new Prompts("", clicks, null, null, new byte[0]);
    }

    /** A rectangle round the object, level-0 px. */
    public static Prompts box(double minX, double minY, double maxX, double maxY) {
        PixelBox checked = new PixelBox(minX, minY, maxX, maxY);
        double[] corners = {checked.minX(), checked.minY(), checked.maxX(), checked.maxY()};
        return new Prompts("", List.of(), corners, null, new byte[0]);
    }

    /** An outline that the object has already: WKB of a 2-D Polygon or MultiPolygon, level-0 px. */
    public static Prompts outline(byte[] wkb) {
        Wkb.bounds(wkb);
        return new Prompts("", List.of(), null, wkb.clone(), new byte[0]);
    }

    /** The same, of an object that has an outline already. */
    Prompts ofOutline(byte[] wkb) {
        return new Prompts(name, clicks, box, outline(wkb).outline, token);
    }

    /** The same in a box, level-0 px. */
    Prompts inBox(Bounds bounds) {
        double[] given = box(bounds.minX(), bounds.minY(), bounds.maxX(), bounds.maxY()).box;
        return new Prompts(name, clicks, given, outline, token);
    }

    /** A further click in the object. */
    public Prompts add(double x, double y) {
        return with(Click.at(x, y, true));
    }

    /** A click on what does not belong to the object. */
    public Prompts remove(double x, double y) {
        return with(Click.at(x, y, false));
    }

    public Prompts with(Click click) {
        List<Click> more = new ArrayList<>(clicks);
        more.add(click);
        return new Prompts(name, more, box, outline, token);
    }

    /** The client's own name for the object; it comes back with the result. */
    public Prompts named(String newName) {
        return new Prompts(newName, clicks, box, outline, token);
    }

    /** Continues the answer that gave this token. */
    public Prompts continuing(byte[] newToken) {
        return new Prompts(name, clicks, box, outline, newToken.clone());
    }

    public String name() {
        return name;
    }

    public List<Click> clicks() {
        return clicks;
    }

    double[] box() {
        return box;
    }

    byte[] outline() {
        return outline;
    }

    byte[] token() {
        return token;
    }

    /** Round everything that is said, the negative clicks too: what a window must show. */
    Bounds bounds() {
        Bounds bounds = box == null ? null : new Bounds(box[0], box[1], box[2], box[3]);
        if (outline != null) {
            Bounds more = Wkb.bounds(outline);
            bounds = bounds == null ? more : bounds.with(more);
        }
        for (Click click : clicks) {
            for (Point point : click.points()) {
                Bounds more = Bounds.of(point);
                bounds = bounds == null ? more : bounds.with(more);
            }
        }
        if (bounds == null) {
            throw new SamException(FailureReason.INVALID_PROMPT, "an object needs a click, a box or an outline");
        }
        return bounds;
    }
}
