"""What the service sees of a film: the elements that it reads, the pixels, and nothing else.

film -> [minimal] -> service
An allow-list, also within the items of sequences: name, dates, UIDs, comments, private elements and
whatever follows the pixels stay where the film is. The pixels are the same bytes.
"""

import struct
from collections.abc import Iterable
from io import BytesIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.filebase import DicomBytesIO
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
