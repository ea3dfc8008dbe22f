package io.github.qupathsam.client;

import com.google.protobuf.ByteString;
import io.github.qupathsam.v1.ErrorInfo;
import io.github.qupathsam.v1.ErrorReason;
import io.github.qupathsam.v1.GetCapabilitiesRequest;
import io.github.qupathsam.v1.GetCapabilitiesResponse;
import io.github.qupathsam.v1.LiveRequest;
import io.github.qupathsam.v1.LiveResponse;
import io.github.qupathsam.v1.Notice;
import io.github.qupathsam.v1.ObjectResult;
import io.github.qupathsam.v1.PredictRequest;
import io.github.qupathsam.v1.PredictResponse;
import io.github.qupathsam.v1.Refinement;
import io.github.qupathsam.v1.SegmentRegionRequest;
import io.github.qupathsam.v1.SegmentRegionResponse;
import io.github.qupathsam.v1.SegmentationServiceGrpc;
import io.github.qupathsam.v1.SegmentedMask;
import io.grpc.InsecureServerCredentials;
import io.grpc.Server;
import io.grpc.Status;
import io.grpc.okhttp.OkHttpServerBuilder;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.List;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** A server that answers a live stream only when a test says so: for what must happen before an answer. */
final class ScriptedServer implements AutoCloseable {
    private static final byte[] OUTLINE = PromptsTest.wkb("POLYGON ((0 0, 10 0, 10 10, 0 10, 0 0))");

    private final Server server;
    private final BlockingQueue<LiveRequest> requests = new LinkedBlockingQueue<>();
    private final CompletableFuture<Throwable> streamEnded = new CompletableFuture<>();
    private final BlockingQueue<SegmentRegionRequest> regions = new LinkedBlockingQueue<>();
    private final Queue<Consumer<StreamObserver<SegmentRegionResponse>>> regionTurns = new ConcurrentLinkedQueue<>();
    private final Queue<PredictRequest> predicts = new ConcurrentLinkedQueue<>();
    private volatile StreamObserver<LiveResponse> stream;

    private ScriptedServer(int port, int protocol) throws Exception {
        server = OkHttpServerBuilder.forPort(port, InsecureServerCredentials.create())
                .addService(new Service(protocol))
                .build()
                .start();
    }

    static ScriptedServer start() throws Exception {
        return new ScriptedServer(0, Connection.PROTOCOL_VERSION);
    }

    static ScriptedServer start(int port, int protocol) throws Exception {
        return new ScriptedServer(port, protocol);
    }

    int port() {
        return server.getPort();
    }

    SamClient client(double timeoutSeconds) {
        return SamClient.connect(Map.of("host", "127.0.0.1", "port", port(), "timeout", timeoutSeconds, "patience", 5));
    }

    /** The next request, whatever it is. */
    LiveRequest next() throws Exception {
        LiveRequest request = requests.poll(30, TimeUnit.SECONDS);
        if (request == null) {
            throw new AssertionError("nothing was asked");
        }
        return request;
    }

    LiveRequest nextPredict() throws Exception {
        LiveRequest request = next();
        while (!request.hasPredict()) {
            request = next();
        }
        return request;
    }

    void answer(LiveRequest request) {
        answer(request, 1);
    }

    /** With so many outlines. */
    void answer(LiveRequest request, int outlines) {
        ObjectResult.Builder result = ObjectResult.newBuilder().setToken(ByteString.copyFromUtf8("token"));
        for (int i = 0; i < outlines; i++) {
            result.addMasks(SegmentedMask.newBuilder()
                    .setGeometryWkb(ByteString.copyFrom(OUTLINE))
                    .setScore(0.9 - 0.1 * i)
                    .setMaskIndex(i));
        }
        PredictResponse answer = PredictResponse.newBuilder().addResults(result).build();
        stream.onNext(LiveResponse.newBuilder()
                .setRequestId(request.getRequestId())
                .setPredict(answer)
                .build());
    }

    void notice(LiveRequest request, String sentence) {
        stream.onNext(LiveResponse.newBuilder()
                .setRequestId(request.getRequestId())
                .setNotice(Notice.newBuilder().setMessage(sentence))
                .build());
    }

    void answerEmpty(LiveRequest request) {
        stream.onNext(LiveResponse.newBuilder()
                .setRequestId(request.getRequestId())
                .setPredict(PredictResponse.getDefaultInstance())
                .build());
    }

    void refuse(LiveRequest request, ErrorReason reason) {
        stream.onNext(LiveResponse.newBuilder()
                .setRequestId(request.getRequestId())
                .setError(ErrorInfo.newBuilder().setReason(reason).setMessage("refused on purpose"))
                .build());
    }

    /** What a server says to the next request for a region before it breaks off, or (without a failure) comes to its end. */
    void willAnswerRegion(Status failure, SegmentRegionResponse... answers) {
        regionTurns.add(out -> {
            for (SegmentRegionResponse answer : answers) {
                out.onNext(answer);
            }
            if (failure != null) {
                out.onError(failure.asRuntimeException());
            } else {
                out.onCompleted();
            }
        });
    }

    /** The next request for a region is not answered at all. */
    void willNotAnswerRegion() {
        regionTurns.add(out -> ((ServerCallStreamObserver<SegmentRegionResponse>) out)
                .setOnCancelHandler(() -> streamEnded.complete(Status.CANCELLED.asException())));
    }

    SegmentRegionRequest nextRegion() throws Exception {
        SegmentRegionRequest request = regions.poll(30, TimeUnit.SECONDS);
        if (request == null) {
            throw new AssertionError("nothing was asked");
        }
        return request;
    }

    /** The requests for outlines so far that came by themselves; each was answered with a token that counts them. */
    List<PredictRequest> predicts() {
        return List.copyOf(predicts);
    }

    /** How the client ended the stream; completes when it has. */
    Throwable streamEnded() throws Exception {
        return streamEnded.get(30, TimeUnit.SECONDS);
    }

    @Override
    public void close() throws InterruptedException {
        server.shutdownNow().awaitTermination(10, TimeUnit.SECONDS);
    }

    private final class Service extends SegmentationServiceGrpc.SegmentationServiceImplBase {
        private final int protocol;

        Service(int protocol) {
            this.protocol = protocol;
        }

        @Override
        public void getCapabilities(GetCapabilitiesRequest request, StreamObserver<GetCapabilitiesResponse> out) {
            out.onNext(GetCapabilitiesResponse.newBuilder()
                    .setServerVersion("9.9.9")
                    .setProtocolVersion(protocol)
                    .setReadsSlides(true)
                    .setMaxObjects(64)
                    .build());
            out.onCompleted();
        }

        @Override
        public void predict(PredictRequest request, StreamObserver<PredictResponse> out) {
            predicts.add(request);
            SegmentedMask mask = SegmentedMask.newBuilder()
                    .setGeometryWkb(ByteString.copyFrom(OUTLINE))
                    .setScore(0.9)
                    .build();
            PredictResponse.Builder answer = PredictResponse.newBuilder();
            for (int i = 0; i < request.getObjectsCount(); i++) {
                answer.addResults(ObjectResult.newBuilder()
                        .addMasks(mask)
                        .setToken(ByteString.copyFromUtf8("answer " + predicts.size() + ", object " + i))
                        .setRefinement(Refinement.getDefaultInstance()));
            }
            out.onNext(answer.build());
            out.onCompleted();
        }

        @Override
        public void segmentRegion(SegmentRegionRequest request, StreamObserver<SegmentRegionResponse> out) {
            regions.add(request);
            regionTurns.remove().accept(out);
        }

        @Override
        public StreamObserver<LiveRequest> live(StreamObserver<LiveResponse> out) {
            stream = out;
            return new StreamObserver<>() {
                @Override
                public void onNext(LiveRequest request) {
                    requests.add(request);
                }

                @Override
                public void onError(Throwable failure) {
                    streamEnded.complete(failure);
                }

                @Override
                public void onCompleted() {
                    streamEnded.complete(new AssertionError("half-closed: the server would finish what nobody wants"));
                }
            };
        }
    }
}
