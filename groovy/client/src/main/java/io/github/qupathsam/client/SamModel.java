package io.github.qupathsam.client;

/** A model that a request may name. */
public record SamModel(
        String name,
        String title,
        String licence,
        boolean takesPoints,
        boolean takesBoxes,
        boolean takesMaskPrompt,
        boolean loaded,
        boolean available) {}
