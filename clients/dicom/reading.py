"""Have a film read by the service, which sees nothing but what it needs.

film -> minimal -> [SDK] -> reading, heatmap -> objects
A film is sent once.
"""

from http import HTTPStatus

from clients import ChestXrayClient, ImageRefused, Prediction, Problem
from clients.dicom.heatmap import Heatmap
from clients.dicom.marks import KINDS, Kind
from clients.dicom.minimal import minimal
from service.errors import InvalidParameter, MalformedBody, ReadingError

# Another address, or a slow line: the film may be as good as any.
NOT_OF_THE_FILM = frozenset(
    {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.REQUEST_TIMEOUT}
)
# Cut on the way, or by a node that is newer than its service.
OF_THE_REQUEST = frozenset({MalformedBody.code, InvalidParameter.code})
FOREIGN = "http_"  # how codes begin of answers that are none of the service's
HEATED: frozenset[Kind] = KINDS - {"sr"}  # what needs a heatmap


def read(
    client: ChestXrayClient, film: bytes, kinds: frozenset[Kind]
) -> tuple[Prediction | Problem, Heatmap | None]:
    """Ask for the reading of a film, and for its heatmap where an object needs one.

    Parameters
    ----------
    client
        Of the service.
    film
        A DICOM file; only :func:`clients.dicom.minimal.minimal` of it is sent.
    kinds
        Objects that are to be made of the answer.

    Returns
    -------
    reading
        A Problem where this film is refused.
    heatmap
        None where the film is refused, or no object needs one.

    Raises
    ------
    ChestXrayError
        Where the service cannot be asked, or is at fault: ask again later.
    """
    try:
        sent = minimal(film)
        if not kinds & HEATED:
            return client.predict(sent), None
        # Only a secondary capture shows the film: reduced, and as a JPEG.
        reading = (
            client.predict(sent, heatmap="jpeg", size="reduced")
            if "sc" in kinds
            else client.predict(sent, heatmap="array")
        )
    except ReadingError as refusal:
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        return Problem(status=status, code=refusal.code, detail=str(refusal)), None
    except ImageRefused as refusal:
        if (
            refusal.status in NOT_OF_THE_FILM
            or refusal.code in OF_THE_REQUEST
            or refusal.code.startswith(FOREIGN)  # a proxy has not let it through
        ):
            raise
        return Problem(status=refusal.status, code=refusal.code, detail=refusal.detail), None
    return reading, Heatmap.of(reading)
