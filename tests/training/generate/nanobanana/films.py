"""What the local Gemini server delivers: phantom radiographs, each with a serial number."""

from functools import cache
from io import BytesIO

from PIL import Image, ImageChops, ImageDraw
from PIL.PngImagePlugin import PngInfo

from training.generate.phantom.render import draw_pair

SIDE = 128  # pixels
LOOKS = ("bordered", "sparkle")  # delivered, to be curated later


@cache
def films() -> tuple[Image.Image, ...]:
    """Eight phantom radiographs, RGB as Google delivers them."""
    pairs = [draw_pair(seed, 64) for seed in range(4)]
    halves = (Image.fromarray(half.pixels) for pair in pairs for half in pair)
    return tuple(half.resize((SIDE, SIDE)).convert("RGB") for half in halves)


def picture(serial: int) -> Image.Image:
    """Film number ``serial``; every eighth shows the same one, moved to the side."""
    return ImageChops.offset(films()[serial % 8], 5 * (serial // 8), 0)


def film(serial: int, look: str = "") -> bytes:
    """PNG number ``serial``, plain or with one of LOOKS; its metadata make it unique."""
    image = picture(serial)
    draw = ImageDraw.Draw(image)
    if look == "bordered":
        draw.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=(255, 255, 255), width=10)
    elif look == "sparkle":
        star = [(56, 50), (58, 56), (62, 58), (58, 60), (56, 63), (54, 60)]
        draw.polygon([(2 * x, 2 * y) for x, y in star], (240, 240, 240))
    return png(image, serial)


def png(image: Image.Image, serial: int) -> bytes:
    """A PNG that holds its number."""
    info = PngInfo()
    info.add_text("serial", str(serial))
    buffer = BytesIO()
    image.save(buffer, "PNG", pnginfo=info, compress_level=1)
    return buffer.getvalue()
