#!/usr/bin/env python3
"""Does with pipecat's serializers what ours are asked to do, and says as JSON what came out.

    oracle.py FILE

FILE holds {"cases": [...], "identities": {name: [text, ...]}}. A case is {"serializer": name, "arguments": {...},
"params": {...}, "rate": Hz, "steps": [...]}, and a step one of
    {"text": message} | {"binary": base64}     a message of the carrier's
    {"audio": base64}                          16-bit PCM at the case's rate, to be sent
    {"interrupt": true} | {"end": true}        the caller cuts in; the bot ends the call

Prints {"cases": [[answer, ...], ...], "identities": {name: {...}}}. An answer is null, {"text"|"binary": message to the
carrier}, {"audio": base64, "rate": Hz} or {"dtmf": key}.
"""

import asyncio
import base64
import json
import sys
import types

from loguru import logger

logger.remove()

from pipecat.frames.frames import (  # noqa: E402
    EndFrame,
    InputAudioRawFrame,
    InputDTMFFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageUrgentFrame,
)
from pipecat.runner.utils import parse_telephony_websocket  # noqa: E402
from pipecat.serializers.exotel import ExotelFrameSerializer  # noqa: E402
from pipecat.serializers.genesys import GenesysAudioHookSerializer  # noqa: E402
from pipecat.serializers.plivo import PlivoFrameSerializer  # noqa: E402
from pipecat.serializers.telnyx import TelnyxFrameSerializer  # noqa: E402
from pipecat.serializers.twilio import TwilioFrameSerializer  # noqa: E402
from pipecat.serializers.vonage import VonageFrameSerializer  # noqa: E402

SERIALIZERS = {
    "exotel": ExotelFrameSerializer,
    "genesys": GenesysAudioHookSerializer,
    "plivo": PlivoFrameSerializer,
    "telnyx": TelnyxFrameSerializer,
    "twilio": TwilioFrameSerializer,
    "vonage": VonageFrameSerializer,
}


def encoded(data):
    return base64.b64encode(data).decode("ascii")


def outgoing(message):
    """A message to the carrier."""
    if message is None:
        return None
    return {"text": message} if isinstance(message, str) else {"binary": encoded(message)}


async def heard(serializer, message):
    """What a message of the carrier's is to them; an answer that they send at once counts as that."""
    frame = await serializer.deserialize(message)
    if isinstance(frame, InputAudioRawFrame):
        return {"audio": encoded(frame.audio), "rate": frame.sample_rate}
    if isinstance(frame, InputDTMFFrame):
        return {"dtmf": frame.button.value}
    if isinstance(frame, OutputTransportMessageUrgentFrame):
        return outgoing(await serializer.serialize(frame))
    assert frame is None, f"an answer that nobody expects: {frame!r}"
    return None


async def answer(serializer, step, rate):
    if "text" in step:
        return await heard(serializer, step["text"])
    if "binary" in step:
        return await heard(serializer, base64.b64decode(step["binary"]))
    if "audio" in step:
        audio = base64.b64decode(step["audio"])
        return outgoing(await serializer.serialize(OutputAudioRawFrame(audio=audio, sample_rate=rate, num_channels=1)))
    if "interrupt" in step:
        return outgoing(await serializer.serialize(InterruptionFrame()))
    if "end" in step:
        return outgoing(await serializer.serialize(EndFrame()))
    raise ValueError(f"no such step: {step}")


async def case(wanted):
    kind = SERIALIZERS[wanted["serializer"]]
    params = kind.InputParams(**wanted["params"])
    serializer = kind(**wanted["arguments"], params=params)
    # Of a pipeline's setup they read this only.
    await serializer.setup(types.SimpleNamespace(audio_in_sample_rate=wanted["rate"]))
    return [await answer(serializer, step, wanted["rate"]) for step in wanted["steps"]]


class Socket:
    """The first messages of a carrier, as FastAPI's socket gives them."""

    def __init__(self, texts):
        self.texts = texts
        self.state = types.SimpleNamespace()

    async def iter_text(self):
        for text in self.texts:
            yield text


async def identity(texts):
    transport, data = await parse_telephony_websocket(Socket(texts))
    names = ("stream_id", "call_id", "from", "to", "body", "outbound_encoding")
    return {"transport": transport, **{name: data.get(name) for name in names}}


async def main(path):
    with open(path, encoding="utf-8") as file:
        wanted = json.load(file)
    found = {
        "cases": [await case(one) for one in wanted["cases"]],
        "identities": {name: await identity(texts) for name, texts in wanted["identities"].items()},
    }
    print(json.dumps(found))


asyncio.run(main(sys.argv[1]))
