package io.github.qupathsam.client;

/** Why an outline should not be taken unseen. */
public enum Doubt {
    /** The model's own estimate of the IoU is low. */
    LOW_SCORE("the model is not sure"),
    /** The outline is far larger than what is in view, or a quarter of a whole slide. */
    LARGE("far larger than the view");

    private final String text;

    Doubt(String text) {
        this.text = text;
    }

    /** For people. */
    public String text() {
        return text;
    }
}
