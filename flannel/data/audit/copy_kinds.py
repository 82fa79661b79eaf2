"""Which kinds of copies the search for near duplicates finds, in numbers, for the audit."""

FOUND = {
    "saved anew (JPEG of 150 px at quality 30; contrast and brightness changed by 15 %)": 1.0,
    "gamma 0.6 or 1.6": 1.0,
    "histogram equalised": 0.99,
    "mirrored": 1.0,
    "cropped by up to 4 % on each side": 0.99,
    "turned by 5 degrees (on black or white)": 0.99,
    "in bars or a frame (black, white or grey)": 0.995,
    "mirrored and cropped": 0.995,
    "inverted": 1.0,
    "inverted, mirrored and cropped": 0.995,
    "turned by 90, 180 or 270 degrees": 1.0,
    "turned by 5 degrees on a larger canvas": 0.82,
}
"""Share of 200 patients' radiographs whose copy was found among 1,819 files: docs/protocols.md."""

NOT_FOUND = (
    "crops of much more than 4 % on a side",
    "turns of much more than 5 degrees that are no quarter turns",
    "parts of a radiograph, and radiographs photographed from a screen",
    "copies of small pictures (below about 128 px) that were changed and compressed strongly",
    "another radiograph of the same patient",
)

LOOKED_FOR = (
    "Looked for: identical files, and copies that were saved anew, mirrored, cropped by up to 4 % "
    "on a side, turned by up to 5 degrees or by quarters, framed or inverted. Not all of these "
    "are found; larger crops or turns are not searched for."
)
