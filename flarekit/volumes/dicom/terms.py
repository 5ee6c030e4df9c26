"""What organs are called in DICOM: SNOMED CT codes for those known here, private ones for any other name.

Codes and their meanings are those of CID 7192, "Anatomical Structure Segmentation Property Type", with the side as a
modifier of CID 244, "Laterality" (PS3.16). Known are FLARE22's thirteen organs and what public data sets of CTs label
beside them, under the names of FLARE22, AMOS, BTCV and TotalSegmentator. A name that is not in the table gets a code of
the private scheme 99FLAREKIT, made from the name, and no category: no code is better than a wrong one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

SNOMED, PRIVATE = "SCT", "99FLAREKIT"
_LONGEST_MEANING = 64  # characters of a code's meaning (LO)
_CODE_DIGITS = 16  # characters of a code's value (SH)


@dataclass(frozen=True)
class Code:
    """A concept of a coding scheme."""

    value: str
    meaning: str
    scheme: str = SNOMED


@dataclass(frozen=True, kw_only=True)
class Term:
    """What a segment shows."""

    category: Code
    structure: Code
    side: Code | None = None


LEFT, RIGHT = Code("7771000", "Left"), Code("24028007", "Right")
_ANATOMICAL_STRUCTURE = Code("91723000", "Anatomical Structure")  # of CID 7150
_UNSPECIFIED = Code("UNSPECIFIED", "Unspecified", PRIVATE)
_ADRENAL_GLAND, _ESOPHAGUS = Code("23451007", "Adrenal gland"), Code("32849002", "Esophagus")
_VENA_CAVA, _BLADDER = Code("64131007", "Inferior vena cava"), Code("89837001", "Bladder")
_SMALL_INTESTINE, _THYROID = Code("30315005", "Small intestine"), Code("69748006", "Thyroid")

# By names without a side, in small letters, without spaces or underscores.
_SINGLE = {
    "liver": Code("10200004", "Liver"),
    "spleen": Code("78961009", "Spleen"),
    "pancreas": Code("15776009", "Pancreas"),
    "aorta": Code("15825003", "Aorta"),
    "inferiorvenacava": _VENA_CAVA,
    "postcava": _VENA_CAVA,  # AMOS
    "gallbladder": Code("28231008", "Gallbladder"),
    "esophagus": _ESOPHAGUS,
    "oesophagus": _ESOPHAGUS,
    "stomach": Code("69695003", "Stomach"),
    "duodenum": Code("38848004", "Duodenum"),
    "bladder": _BLADDER,
    "urinarybladder": _BLADDER,
    "prostate": Code("41216001", "Prostate"),
    "uterus": Code("35039007", "Uterus"),
    "rectum": Code("34402009", "Rectum"),
    "colon": Code("71854001", "Colon"),
    "smallbowel": _SMALL_INTESTINE,
    "smallintestine": _SMALL_INTESTINE,
    "portalvein": Code("32764006", "Portal vein"),
    "splenicvein": Code("35819009", "Splenic vein"),
    "superiorvenacava": Code("48345005", "Superior vena cava"),
    "heart": Code("80891009", "Heart"),
    "trachea": Code("44567001", "Trachea"),
    "thyroid": _THYROID,
    "thyroidgland": _THYROID,
    "brain": Code("12738006", "Brain"),
    "spinalcord": Code("2748008", "Spinal cord"),
    "sacrum": Code("54735007", "Sacrum"),
    "sternum": Code("56873002", "Sternum"),
}
_PAIRED = {
    "kidney": Code("64033007", "Kidney"),
    "adrenalgland": _ADRENAL_GLAND,
    "adrenal": _ADRENAL_GLAND,
    "lung": Code("39607008", "Lung"),
    "femur": Code("71341001", "Femur"),
    "humerus": Code("85050009", "Humerus"),
    "scapula": Code("79601000", "Scapula"),
    "clavicle": Code("51299004", "Clavicle"),
}
_SIDES = {"left": LEFT, "right": RIGHT}


def term_of(organ: str) -> Term:
    """The coded term of an organ by its name, whose case, spaces and underscores do not matter."""
    words = [word for word in re.split(r"[\W_]+", organ.lower()) if word]
    sides = [_SIDES[word] for word in words if word in _SIDES]
    plain = "".join(word for word in words if word not in _SIDES)
    if len(sides) <= 1 and plain in _PAIRED:
        return Term(category=_ANATOMICAL_STRUCTURE, structure=_PAIRED[plain], side=next(iter(sides), None))
    if not sides and plain in _SINGLE:
        return Term(category=_ANATOMICAL_STRUCTURE, structure=_SINGLE[plain])
    return Term(category=_UNSPECIFIED, structure=_private(organ, "".join(words)))


def _private(organ: str, plain: str) -> Code:
    value = hashlib.sha256(plain.encode()).hexdigest()[:_CODE_DIGITS]
    return Code(value, " ".join(organ.split())[:_LONGEST_MEANING], PRIVATE)
