"""What the local Gemini server delivers: phantom radiographs, each with a serial number."""

from functools import cache
from io import BytesIO

from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from training.generate.phantom.render import draw_pair

LOOKS = ("tinted", "bordered", "sparkle")  # delivered, to be curated later


@cache
def films() -> tuple[Image.Image, ...]:
    """Eight phantom radiographs, RGB as Google delivers them."""
    pairs = [draw_pair(seed, 64) for seed in range(4)]
    return tuple(Image.fromarray(half.pixels).convert("RGB") for pair in pairs for half in pair)


def film(serial: int, look: str = "") -> bytes:
    """PNG number ``serial``, plain or with one of LOOKS; its metadata make it unique."""
    image = films()[serial % 8].copy()
    draw = ImageDraw.Draw(image)
    if look == "tinted":
        image = Image.blend(image, Image.new("RGB", image.size, (30, 60, 160)), 0.3)
    elif look == "bordered":
        draw.rectangle((0, 0, 63, 63), outline=(255, 255, 255), width=5)
    elif look == "sparkle":
        draw.polygon([(56, 50), (58, 56), (62, 58), (58, 60), (56, 63), (54, 60)], (240, 240, 240))
    info = PngInfo()
    info.add_text("serial", str(serial))
    buffer = BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
