package io.github.qupathsam.client;

import javafx.scene.input.KeyCode;

/** What the keys do to the object that is being clicked. */
public final class ClickKeys {
    /** What a key does. */
    public enum Action {
        DROP,
        KEEP,
        KEEP_AND_GO_ON,
        NEXT_OUTLINE,
        UNDO,
        /** The key is held down: it repeats, and has done what it does. */
        HELD,
        /** It is not the tool's own. */
        NONE
    }

    private boolean nextIsDown;

    private ClickKeys() {}

    /** None is down. */
    public static ClickKeys start() {
        return new ClickKeys();
    }

    /** Whether N is held: what is clicked meanwhile is another object. */
    public boolean isNextDown() {
        return nextIsDown;
    }

    public void released(KeyCode key) {
        if (key == KeyCode.N) {
            nextIsDown = false;
        }
    }

    /**
     * @param shortcut whether Ctrl, or Command, is down
     * @param isClicked whether an object has clicks
     * @param isBeingKept whether it waits for its last answer to become an annotation
     * @param hasMessage whether a message is shown, which Escape takes away
     */
    public Action pressed(KeyCode key, boolean shortcut, boolean shift, boolean isClicked, boolean isBeingKept, boolean hasMessage) {
        return switch (key) {
            case ESCAPE -> isClicked || hasMessage ? Action.DROP : Action.NONE;
            case ENTER -> isClicked ? Action.KEEP : Action.NONE;
            // Without an object N is QuPath's own: names of objects.
            case N -> !shortcut && (nextIsDown || isClicked) ? next(isBeingKept) : Action.NONE;
            case TAB -> isClicked && !shortcut ? Action.NEXT_OUTLINE : Action.NONE;
            case Z -> isClicked && shortcut && !shift ? Action.UNDO : Action.NONE;
            default -> Action.NONE;
        };
    }

    private Action next(boolean isBeingKept) {
        boolean isNew = !nextIsDown && !isBeingKept;
        nextIsDown = true;
        return isNew ? Action.KEEP_AND_GO_ON : Action.HELD;
    }
}
