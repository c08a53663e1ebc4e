"""Electronic mail (eml)."""

import email
import email.policy
from email.message import MIMEPart

from genaisys.retrieval.readers.draft import Draft
from genaisys.retrieval.readers.encoding import decode
from genaisys.retrieval.readers.html import read_markup_into
from genaisys.retrieval.readers.text import read_text_into

_SHOWN = ("From", "To", "Cc", "Date")


def read_eml(content: bytes) -> Draft:
    message = email.message_from_bytes(content, policy=email.policy.default)
    draft = Draft()
    draft.title = str(message["Subject"] or "")
    draft.heading(draft.title, 1)
    for name in _SHOWN:
        value = str(message[name] or "")
        draft.metadata[name.lower()] = value
        draft.item(f"{name}: {value}" if value else "")
    if message["Date"] is not None and message["Date"].datetime is not None:
        draft.metadata["date"] = message["Date"].datetime.date().isoformat()
    body = message.get_body(preferencelist=("plain", "html"))
    if body is not None:
        text = _text(body)
        if body.get_content_subtype() == "html":
            read_markup_into(draft, text)
        else:
            read_text_into(draft, text)
    for attachment in message.iter_attachments():
        draft.item(f"Attachment: {attachment.get_filename() or attachment.get_content_type()}")
    return draft


def _text(body: MIMEPart) -> str:
    payload = body.get_payload(decode=True)
    return decode(payload if isinstance(payload, bytes) else b"", body.get_content_charset())
