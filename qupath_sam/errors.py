"""Every error this package raises on purpose, and what each one asks the reader to do.

::

    QupathSamError
    ├── InvalidRequest          the request itself is wrong: change it
    │   ├── InvalidPrompt           empty, NaN, outside the image, outline that is no polygon
    │   ├── InvalidRegion           outside the image, empty, negative or absurdly large
    │   └── RequestTooLarge         more pixels, objects or bytes than the limits allow
    ├── SlideError              the pixels cannot be had as asked
    │   ├── SlideNotFound           no such file, or not visible from this machine
    │   ├── SlideUnreadable         there, but corrupt, truncated or of an unknown format
    │   ├── SlideMismatch           there, but not the image the client believes it to be
    │   └── SlideUnsupported        needs something only the client can do: push the pixels
    ├── PixelsMissing           pushed pixels are not (or no longer) held: push them again
    ├── ModelError              the model cannot be had as asked
    │   ├── UnknownModel            no model of that name
    │   ├── WeightsMissing          known, but its weights are not on this machine
    │   ├── WrongWeights            a file that is not what it says it is
    │   ├── UnsupportedPrompt       this model cannot take this kind of prompt
    │   └── UnsupportedPrompting    this model cannot find objects that way
    ├── ProjectError            a QuPath project cannot be read or written safely
    ├── OutOfMemory             the machine or its accelerator has no room for this request
    ├── ServerBusy              too many requests wait already: try again in a moment
    ├── Unauthenticated         the server wants a token, and got none or another one
    ├── Cancelled               the caller has gone, or a newer request replaced this one
    ├── DeadlineExceeded        the caller's time ran out before the work was done
    ├── MissingPackage          a package that this needs is not installed
    └── ServerUnavailable       no server answers at that address, or it is shutting down
        └── ServerStarting          it loads its model: repeat the call in a moment

Messages end in what to do about it. `qupath_sam.protocol.status` maps each class to one gRPC code and one
`ErrorReason` of the protocol; a test walks this tree to see that none is forgotten.
"""

from __future__ import annotations


class QupathSamError(Exception):
    """Base of all errors that this package raises on purpose."""


class InvalidRequest(QupathSamError, ValueError):
    """The request is wrong in itself; the same request will fail again."""


class InvalidPrompt(InvalidRequest):
    """A prompt is empty, not finite, outside the image, or an outline that is no polygon."""


class InvalidRegion(InvalidRequest):
    """A region is empty, negative, outside the image, or has an impossible downsample."""


class RequestTooLarge(InvalidRequest):
    """More pixels, objects or bytes than the limits allow."""


class SlideError(QupathSamError):
    """The pixels cannot be had as asked."""


class SlideNotFound(SlideError, FileNotFoundError):
    """No such slide, or it is not visible from this machine."""


class SlideUnreadable(SlideError):
    """The slide is there, but corrupt, truncated or of a format no reader knows."""


class SlideMismatch(SlideError):
    """The slide opened here is not the image that the client believes it to be."""


class SlideUnsupported(SlideError):
    """The image needs a transformation that cannot be reproduced here; the client can push its pixels."""


class PixelsMissing(QupathSamError):
    """Pushed pixels of this digest are not, or no longer, held; push them again.

    Attributes:
        digest: hex SHA-256 of the pixels that are missing.
    """

    def __init__(self, digest: str) -> None:
        super().__init__(f"pixels {digest[:12]}… are not held by this server; send them with PushPixels and repeat")
        self.digest = digest

    def __reduce__(self) -> tuple[type[PixelsMissing], tuple[str]]:
        # Between processes it travels as its digest: args holds the message.
        return type(self), (self.digest,)


class ModelError(QupathSamError):
    """The model cannot be had as asked."""


class UnknownModel(ModelError, LookupError):
    """No model of that name is registered."""


class WeightsMissing(ModelError):
    """The model is known, but its weights are not on this machine."""


class WrongWeights(ModelError):
    """A checkpoint is not what it says it is: wrong hash, layout, shapes, or not a checkpoint at all."""


class UnsupportedPrompt(ModelError):
    """This model cannot take this kind of prompt."""


class UnsupportedPrompting(ModelError):
    """This model cannot find the objects of a region that way."""


class ProjectError(QupathSamError):
    """A QuPath project cannot be read or written safely."""


class OutOfMemory(QupathSamError):
    """The machine or its accelerator has no room for this request."""


class ServerBusy(QupathSamError):
    """Too many requests wait already; the same request may well succeed in a moment."""


class Unauthenticated(QupathSamError):
    """The server lets in only who sends its token, and the call had none or another one."""


class MissingPackage(QupathSamError, ImportError):
    """A package that this needs is not installed; the message has the command that installs it."""


class Cancelled(QupathSamError):
    """The caller has gone, or a newer request has replaced this one."""


class DeadlineExceeded(QupathSamError, TimeoutError):
    """The caller's time ran out before the work was done."""


class ServerUnavailable(QupathSamError, ConnectionError):
    """No server answers at that address, or it is shutting down."""


class ServerStarting(ServerUnavailable):
    """The server listens already, and is not ready yet: the same call succeeds in a moment.

    Attributes:
        retry_after_s: how long to wait before the call is made again, seconds.
    """

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
