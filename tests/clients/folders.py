"""Folders of real image files, a few of them distinct and the rest hard links."""

from pathlib import Path

from tests.factories import chest, dicom_bytes, png_bytes

DISTINCT = 8


def contents() -> list[bytes]:
    """Small DICOM and PNG radiographs in turn, all different."""
    return [
        dicom_bytes(chest(96, 80, seed=seed), PatientSex="F", PatientAge="047Y")
        if seed % 2
        else png_bytes(chest(80, 96, seed=seed))
        for seed in range(DISTINCT)
    ]


def write_images(folder: Path, count: int) -> Path:
    """Write ``count`` files named by their number; returns the folder."""
    folder.mkdir(parents=True)
    for number in range(count):
        file = folder / f"{number:05d}"
        if number < DISTINCT:
            file.write_bytes(contents()[number])
        else:
            file.hardlink_to(folder / f"{number % DISTINCT:05d}")
    return folder
