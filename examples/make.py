"""Draw the example films: one patient of the phantom, healthy as PNG and with pneumonia as DICOM.

phantom -> [examples] -> README, docs, the page at /ui

Run from the root of the repository: python -m examples.make
"""

from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from training.generate.phantom.render import DrawnImage, draw_pair

FOLDER = Path(__file__).resolve().parent
PAGE = (
    FOLDER.parent / "service" / "ui" / "examples"
)  # ships with the service, as this folder does not
HEALTHY, PNEUMONIA = "phantom-healthy.png", "phantom-pneumonia.dcm"
SEED = 2  # a PA film of an adult; chosen since the default model reads both halves rightly
SIDE = 256  # pixels: the grid on which the phantom does its physics
PROVENANCE = f"Synthetic: drawn by nanocxr's phantom with seed {SEED}. No patient."


def write(folder: Path) -> None:
    """Write both films into ``folder``; the same code writes the same pixels and headers."""
    healthy, pneumonia = draw_pair(SEED, SIDE)
    text = PngInfo()
    text.add_text("Description", PROVENANCE)
    Image.fromarray(healthy.pixels).save(folder / HEALTHY, optimize=True, pnginfo=text)
    film(pneumonia).save_as(folder / PNEUMONIA, enforce_file_format=True)


def film(image: DrawnImage) -> Dataset:
    """Make the CR image that a radiography system would send of it."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid("implementation")
    meta.ImplementationVersionName = "NANOCXR"  # instead of pydicom's with its version
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    for level in ("SOPInstance", "SeriesInstance", "StudyInstance"):
        setattr(dataset, f"{level}UID", _uid(level))
    dataset.Modality = "CR"
    dataset.Manufacturer = "nanocxr"
    dataset.ManufacturerModelName = "phantom"
    dataset.PatientName = "Phantom^Synthetic"
    dataset.PatientID = f"PHANTOM-{SEED}"
    dataset.ImageComments = PROVENANCE
    dataset.BodyPartExamined = "CHEST"
    dataset.ViewPosition = str(image.facts["view"])
    dataset.PatientOrientation = ["L", "F"]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = image.pixels.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = image.pixels.tobytes()
    dataset["PixelData"].VR = "OB"
    # Part 3 of the standard wants these in every file; a phantom has no value for them.
    for keyword in (
        "AccessionNumber", "InstanceNumber", "Laterality", "PatientBirthDate", "PatientSex",
        "ReferringPhysicianName", "SeriesNumber", "StudyDate", "StudyID", "StudyTime",
    ):  # fmt: skip
        setattr(dataset, keyword, None)
    return dataset


def _uid(name: str) -> UID:
    return UID(f"2.25.{uuid5(NAMESPACE_URL, f'nanocxr:examples:{SEED}:{name}').int}")


if __name__ == "__main__":
    for folder in (FOLDER, PAGE):
        write(folder)
