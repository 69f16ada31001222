"""What the local Gemini server delivers: phantom radiographs, each with a serial number."""

from functools import cache
from io import BytesIO

from PIL import Image, ImageChops, ImageDraw
from PIL.PngImagePlugin import PngInfo

from training.generate.phantom.render import draw_pair

SIDE = 128  # pixels
UNFIT = ("same", "saved anew", "1 x 1", "wide", "strip", "coloured", "blank")
CONVERTED = ("webp", "gif", "8k")  # usable, though not as they are
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


def rude(kind: str, serial: int) -> bytes:
    """What no one asked for, of a kind in UNFIT or CONVERTED."""
    image = picture(serial)
    match kind:
        case "same":
            image, serial = picture(0), 0
        case "saved anew":  # the same picture, a little brighter each time
            brighter = [min(255, level + serial % 9) for level in range(256)]
            image = picture(0).point(brighter * 3)
        case "1 x 1":
            image = image.resize((1, 1))
        case "wide":
            image = image.resize((6 * SIDE, SIDE))
        case "strip":
            image = image.resize((9 * SIDE, SIDE))
        case "coloured":
            image = Image.blend(image, Image.new("RGB", image.size, (30, 60, 160)), 0.3)
        case "blank":
            image = Image.new("L", image.size, 90)
        case "8k":  # more pixels than serving reads
            image = image.convert("L").resize((8192, 8192), Image.Resampling.NEAREST)
        case _:
            return _converted(image, kind)
    return png(image, serial)


def _converted(image: Image.Image, kind: str) -> bytes:
    buffer = BytesIO()
    if kind == "webp":
        image.save(buffer, "WEBP", lossless=True)
    else:
        second = Image.new("L", image.size)
        image.convert("L").save(buffer, "GIF", save_all=True, append_images=[second])
    return buffer.getvalue()


def png(image: Image.Image, serial: int) -> bytes:
    """A PNG that holds its number."""
    info = PngInfo()
    info.add_text("serial", str(serial))
    buffer = BytesIO()
    image.save(buffer, "PNG", pnginfo=info, compress_level=1)
    return buffer.getvalue()
