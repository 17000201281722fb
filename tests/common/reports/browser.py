"""Photographs pages with headless Chromium and reads the pictures."""

import shutil
import struct
import subprocess
import zlib

CHROMIUM = shutil.which("chromium")


def photograph(page, picture, dark=False, width=1280, height=1600):
    """Renders a page with Chromium into a PNG; returns what the browser logged."""
    profile = picture.with_suffix(".profile")
    scheme = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={profile}",
            "--enable-logging=stderr",
            *scheme,
            f"--window-size={width},{height}",
            f"--screenshot={picture}",
            page.as_uri(),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=90,
    )
    return done.stderr


def picture_of(path):
    """Returns width, height and how often each colour occurs in every fourth pixel of every fourth row of a PNG."""
    data, position, packed = path.read_bytes(), 8, b""
    while position < len(data):
        (size,), kind = struct.unpack(">I", data[position : position + 4]), data[position + 4 : position + 8]
        body = data[position + 8 : position + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour_type = struct.unpack(">IIBB", body[:10])
        elif kind == b"IDAT":
            packed += body
        position += size + 12
    assert depth == 8
    channels = {2: 3, 6: 4}[colour_type]
    raw, stride, previous, colours = zlib.decompress(packed), width * channels, bytes(width * channels), {}
    for y in range(height):
        start = y * (stride + 1)
        previous = unfiltered(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), previous, channels)
        if y % 4 == 0:
            for x in range(0, stride, 4 * channels):
                colour = tuple(previous[x : x + 3])
                colours[colour] = colours.get(colour, 0) + 1
    return width, height, colours


def unfiltered(kind, line, above, step):
    """Undoes a PNG row's filter (0 none, 1 left, 2 above, 3 mean, 4 Paeth)."""
    for i in range(len(line)) if kind else ():
        left = line[i - step] if i >= step else 0
        corner = above[i - step] if i >= step else 0
        if kind == 4:
            guess = left + above[i] - corner
            distances = [(abs(guess - value), rank, value) for rank, value in enumerate((left, above[i], corner))]
            line[i] = (line[i] + min(distances)[2]) & 255
        else:
            line[i] = (line[i] + (0, left, above[i], (left + above[i]) // 2)[kind]) & 255
    return bytes(line)
