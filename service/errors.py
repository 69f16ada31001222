"""Every reason why a reading can be refused.

ReadingError
├── UndecodableImage                 the bytes cannot be turned into pixels
│   ├── NotAnImage                   no DICOM, PNG or JPEG
│   ├── TruncatedImage               the file ends too early
│   ├── CorruptImage                 the decoder rejects the content
│   ├── NoPixelData                  a DICOM object without an image
│   ├── UnsupportedTransferSyntax    compressed or encrypted in a way that is not read
│   ├── DecoderCrashed               the process that decoded it died
│   └── DecodeTimeout                the process that decoded it took too long
├── UnsupportedImage                 valid, but not one frontal chest radiograph
│   ├── MultipleFrames
│   ├── UnsupportedModality
│   ├── NotAChest
│   ├── NotFrontal
│   ├── UnfamiliarImage              the pixels do not look like a frontal chest radiograph
│   ├── TooSmall                     fewer pixels than the model needs
│   └── UnsupportedPixels            pixel layout outside the standard's use for radiographs
├── LimitExceeded                    refused before any pixel is decoded
│   ├── TooManyBytes
│   └── TooManyPixels
├── InvalidRequest                   the HTTP request, not the image, is wrong
│   ├── UnsupportedMediaType         neither a multipart form nor a file
│   ├── MalformedBody                a multipart form that cannot be taken apart
│   ├── InvalidParameter             a query parameter
│   ├── MissingImage
│   ├── NotAFile
│   ├── TooManyImages
│   └── UploadTimeout                the body did not arrive in time
├── AccessDenied                     who asks, not what is asked, is wrong
│   ├── Unauthorized                 no API key, or none that is valid
│   └── KeysRequired                 reached from beyond its computer without keys
├── ServiceBusy                      too many requests, or bytes of uploads, at once
└── ModelUnavailable                 no model, or not the one it claims to be
    ├── ModelCorrupt                 SHA-256 differs from the manifest
    ├── ModelUnsigned                a signature is asked for, and there is none
    ├── ModelSignatureInvalid        the signature is not that of the manifest
    ├── InvalidManifest
    ├── InvalidCalibration           the site's calibration cannot be used
    └── CalibrationMismatch          the site's calibration is that of another model

Messages say the fact (a DICOM tag, a size) and the remedy. They never hold a patient's values:
a tag's value is quoted only when it is a code of the standard (modality, view, body part, UID of
a transfer syntax), never free text.
"""

from typing import ClassVar


class ReadingError(Exception):
    """Base of all refusals; ``code`` is stable across releases, the message is for people."""

    code: ClassVar[str] = "reading_error"


class UndecodableImage(ReadingError):
    """The bytes cannot be turned into pixels."""

    code = "undecodable_image"


class NotAnImage(UndecodableImage):
    """Neither DICOM, PNG nor JPEG by content."""

    code = "not_an_image"


class TruncatedImage(UndecodableImage):
    """The file ends before its pixels do."""

    code = "truncated_image"


class CorruptImage(UndecodableImage):
    """The decoder rejects the content."""

    code = "corrupt_image"


class NoPixelData(UndecodableImage):
    """A DICOM object without Pixel Data (7FE0,0010)."""

    code = "no_pixel_data"


class UnsupportedTransferSyntax(UndecodableImage):
    """A transfer syntax that no installed decoder reads."""

    code = "unsupported_transfer_syntax"


class DecoderCrashed(UndecodableImage):
    """The process that decoded the file died of it, was killed, or ran out of memory."""

    code = "decoder_crashed"


class DecodeTimeout(UndecodableImage):
    """The process that decoded the file took too long, and was killed."""

    code = "decode_timeout"


class UnsupportedImage(ReadingError):
    """A valid image, but not one frontal chest radiograph."""

    code = "unsupported_image"


class MultipleFrames(UnsupportedImage):
    """More than one frame (0028,0008)."""

    code = "multiple_frames"


class UnsupportedModality(UnsupportedImage):
    """Modality (0008,0060), or Image Type (0008,0008), is not projection radiography."""

    code = "unsupported_modality"


class NotAChest(UnsupportedImage):
    """Body Part Examined (0018,0015) or Anatomic Region Sequence (0008,2218) names another part."""

    code = "not_a_chest"


class NotFrontal(UnsupportedImage):
    """View Position (0018,5101), or another element about the view, is not frontal."""

    code = "not_frontal"


class UnfamiliarImage(UnsupportedImage):
    """The pixels do not look like an upright frontal chest radiograph with white bones.

    Parameters
    ----------
    familiarity
        What the gate found, in [0, 1].
    threshold
        Least familiarity that the model reads.
    """

    code = "unfamiliar_image"

    def __init__(self, familiarity: float, threshold: float) -> None:
        super().__init__(familiarity, threshold)
        self.familiarity = familiarity
        self.threshold = threshold

    def __str__(self) -> str:
        return (
            f"This does not look like a frontal chest radiograph (familiarity "
            f"{self.familiarity:.3f}, at least {self.threshold:.3f} is read). "
            "Send one PA or AP film, upright, bones white, without other pictures beside it."
        )


class TooSmall(UnsupportedImage):
    """A side has fewer pixels than the model was measured to read."""

    code = "too_small"


class UnsupportedPixels(UnsupportedImage):
    """A pixel layout that radiographs do not use, or raw detector data (For Processing)."""

    code = "unsupported_pixels"


class LimitExceeded(ReadingError):
    """Larger than the service reads; found before any pixel is decoded."""

    code = "limit_exceeded"


class TooManyBytes(LimitExceeded):
    """The file is larger than the limit of bytes."""

    code = "too_many_bytes"


class TooManyPixels(LimitExceeded):
    """Rows x columns is larger than the limit of pixels."""

    code = "too_many_pixels"


class InvalidRequest(ReadingError):
    """The HTTP request is wrong; no image was looked at."""

    code = "invalid_request"


class UnsupportedMediaType(InvalidRequest):
    """The body is neither a multipart form nor, by its media type, a file."""

    code = "unsupported_media_type"


class MalformedBody(InvalidRequest):
    """A multipart form that cannot be taken apart."""

    code = "malformed_body"


class InvalidParameter(InvalidRequest):
    """A query parameter is unknown, is there twice or has a value it cannot have."""

    code = "invalid_parameter"


class MissingImage(InvalidRequest):
    """No part with the expected field name."""

    code = "missing_image"


class NotAFile(InvalidRequest):
    """A part is text (a path, a URL), not an uploaded file."""

    code = "not_a_file"


class TooManyImages(InvalidRequest):
    """A batch holds more images than the limit."""

    code = "too_many_images"


class UploadTimeout(InvalidRequest):
    """The body did not arrive in time."""

    code = "upload_timeout"


class AccessDenied(ReadingError):
    """Whoever asks may not."""

    code = "access_denied"


class Unauthorized(AccessDenied):
    """No API key, or one that is not valid."""

    code = "unauthorized"


class KeysRequired(AccessDenied):
    """The service has no API keys and can be reached from other computers."""

    code = "keys_required"


class ServiceBusy(ReadingError):
    """Too many requests, or bytes of uploads, at once; the same request may succeed later."""

    code = "service_busy"


class ModelUnavailable(ReadingError):
    """No model can be served."""

    code = "model_unavailable"


class ModelCorrupt(ModelUnavailable):
    """A file's SHA-256 differs from the manifest's."""

    code = "model_corrupt"


class ModelUnsigned(ModelUnavailable):
    """A public key is configured, and the manifest has no signature."""

    code = "model_unsigned"


class ModelSignatureInvalid(ModelUnavailable):
    """The signature was not made of this manifest with the configured key's other half."""

    code = "model_signature_invalid"


class InvalidManifest(ModelUnavailable):
    """The manifest cannot be read or contradicts itself."""

    code = "invalid_manifest"


class InvalidCalibration(ModelUnavailable):
    """The site's calibration cannot be read or contradicts itself."""

    code = "invalid_calibration"


class CalibrationMismatch(ModelUnavailable):
    """The site's calibration was made with another model."""

    code = "calibration_mismatch"
