package io.github.qupathsam.client;

import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import io.grpc.okhttp.OkHttpChannelBuilder;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.logging.Logger;

/** Makes the connection that {@link Settings} describe. */
final class Channels {
    /** As the server's own limit; GetCapabilities tells where it is another. */
    static final int MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

    private static final Metadata.Key<String> AUTHORIZATION =
            Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);

    /** What fails is told by {@link Failures}; gRPC prints a stack trace beside it. Held here: a logger without a holder is forgotten. */
    private static final Logger GRPC = Logger.getLogger(ManagedChannel.class.getPackageName());

    static {
        if (GRPC.getLevel() == null) { // else a person wants to see it
            GRPC.setLevel(Level.SEVERE);
        }
    }

    private Channels() {}

    /** Opens nothing yet: gRPC connects with the first call. */
    static ManagedChannel open(Settings settings) {
        return OkHttpChannelBuilder.forAddress(settings.host(), settings.port(), credentials(settings))
                .intercept(bearer(settings.token()))
                .maxInboundMessageSize(MAX_MESSAGE_BYTES)
                // Proxies and sleeping laptops drop silent connections; calls under way notice within a minute.
                .keepAliveTime(60, TimeUnit.SECONDS)
                .keepAliveTimeout(20, TimeUnit.SECONDS)
                .build();
    }

    private static ChannelCredentials credentials(Settings settings) {
        if (!settings.tls()) {
            return InsecureChannelCredentials.create();
        }
        TlsChannelCredentials.Builder credentials = TlsChannelCredentials.newBuilder();
        if (!settings.ca().isEmpty()) {
            try {
                credentials.trustManager(new File(settings.ca()));
            } catch (IOException unreadable) {
                throw new SamException(
                        FailureReason.BAD_CERTIFICATE,
                        "cannot read the certificates of " + settings.ca() + "; set ca to a PEM file",
                        unreadable);
            }
        }
        if (!settings.certificate().isEmpty()) {
            try {
                credentials.keyManager(new File(settings.certificate()), new File(settings.key()));
            } catch (IOException unreadable) {
                throw new SamException(
                        FailureReason.BAD_CERTIFICATE,
                        "cannot read " + settings.certificate() + " and " + settings.key()
                                + "; set certificate and key to PEM files of this client",
                        unreadable);
            }
        }
        return credentials.build();
    }

    private static ClientInterceptor bearer(String token) {
        Metadata headers = new Metadata();
        if (!token.isEmpty()) {
            headers.put(AUTHORIZATION, "Bearer " + token);
        }
        return MetadataUtils.newAttachHeadersInterceptor(headers);
    }
}
