package io.github.qupathsam.client;

import io.github.qupathsam.v1.LiveRequest;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What a stream still waits for, by the ids of its requests, oldest first. Of one thread. */
final class UnansweredTasks {
    private final Map<Long, LiveTask<?>> tasks = new LinkedHashMap<>();
    private long lastId;

    boolean isEmpty() {
        return tasks.isEmpty();
    }

    /** An id that no request of the stream has had. */
    long nextId() {
        return ++lastId;
    }

    /** Waits for a task under a new id: an answer to an older one is no longer its own. */
    void add(LiveTask<?> task) {
        task.renumber(nextId());
        tasks.put(task.id(), task);
    }

    boolean contains(long id, LiveTask<?> task) {
        return tasks.get(id) == task;
    }

    /** The task of a request; null where it is not waited for. */
    LiveTask<?> get(long id) {
        return tasks.get(id);
    }

    /** The task of a request, which is waited for no more; null where it has not been. */
    LiveTask<?> remove(long id) {
        return tasks.remove(id);
    }

    /** Whether the task was still waited for. */
    boolean remove(LiveTask<?> task) {
        return tasks.remove(task.id(), task);
    }

    /** The requests that can be sent as they are. */
    List<LiveRequest> ready(Settings settings) {
        return tasks.values().stream()
                .filter(LiveTask::isReady)
                .map(task -> task.message(settings))
                .toList();
    }

    /** Cancels the tasks that a newer one with this key replaces; the server does the same. An empty key replaces none. */
    void supersede(String key) {
        for (LiveTask<?> older : List.copyOf(tasks.values())) {
            if (!key.isEmpty() && older.key.equals(key)) {
                tasks.remove(older.id());
                older.fail(new SamException(FailureReason.CANCELLED, "a newer request has replaced this one"));
            }
        }
    }

    void failAll(SamException failure) {
        List<LiveTask<?>> all = List.copyOf(tasks.values());
        tasks.clear();
        all.forEach(task -> task.fail(failure));
    }
}
