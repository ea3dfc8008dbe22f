package io.github.qupathsam.client;

import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** Options as Groovy writes them, {@code [mpp: 0.5, minArea: 20]}, read one by one; what is wrong is named. */
final class NamedValues {
    private final Map<String, ?> values;

    /** @throws SamException INVALID_REQUEST where a name is not known */
    NamedValues(Map<String, ?> values, Set<String> known) {
        for (String name : values.keySet()) {
            if (!known.contains(name)) {
                throw invalid("unknown option '" + name + "'; known: " + new TreeSet<>(known));
            }
        }
        this.values = values;
    }

    /** Empty where it is not given. */
    String text(String name) {
        Object value = values.get(name);
        return value == null ? "" : value.toString();
    }

    /** Null where it is not given; at least 0 and finite else. */
    Double number(String name) {
        Object value = values.get(name);
        if (value == null) {
            return null;
        }
        if (!(value instanceof Number given)) {
            throw invalid(name + " must be a number, got '" + value + "'");
        }
        double number = given.doubleValue();
        if (!(number >= 0 && Double.isFinite(number))) {
            throw invalid(name + " must be at least 0, got " + number);
        }
        return number;
    }

    double number(String name, double absent) {
        Double given = number(name);
        return given == null ? absent : given;
    }

    /** False where it is not given. */
    boolean truth(String name) {
        Object value = values.get(name);
        if (value == null) {
            return false;
        }
        if (value instanceof Boolean given) {
            return given;
        }
        throw invalid(name + " must be true or false, got '" + value + "'");
    }

    /** One of an enum's names, in any case; the first where it is not given. */
    <E extends Enum<E>> E one(String name, Class<E> of) {
        String wanted = text(name);
        for (E candidate : of.getEnumConstants()) {
            if (wanted.isEmpty() || candidate.name().equalsIgnoreCase(wanted)) {
                return candidate;
            }
        }
        throw invalid(name + " must be one of " + java.util.List.of(of.getEnumConstants()) + ", got '" + wanted + "'");
    }

    static SamException invalid(String message) {
        return new SamException(FailureReason.INVALID_REQUEST, message);
    }
}
