package io.github.qupathsam.client;

/** Why an outline should not be taken unseen. */
public enum Doubt {
    /** The model's own estimate of the IoU is low. */
    LOW_SCORE("the model is not sure"),
    /** The outline is far larger than what is in view, or more than a quarter of the slide's tissue. */
    LARGE("far larger than the view, or a quarter of the tissue"),
    /** The click lies on glass, and so does most of the outline. */
    BACKGROUND("mostly glass without tissue");

    private final String text;

    Doubt(String text) {
        this.text = text;
    }

    /** Whether work that nobody watches leaves such an outline out: it is no answer to what was asked. */
    public boolean isRefusal() {
        return this != LOW_SCORE;
    }

    /** For people. */
    public String text() {
        return text;
    }
}
