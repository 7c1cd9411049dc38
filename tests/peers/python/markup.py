#!/usr/bin/env python3
"""Builds the XML examples of a Markdown file anew with the vendors' own SDKs, which know what may stand where.

    markup.py FILE

Prints {"twilio"|"plivo": {"documented": XML, "built": XML}}, both canonical. Neither SDK reads a message of a media stream:
they are for the HTTP side of a call, so that pointing a call at a socket is all there is in them.
"""

import json
import re
import sys
import xml.etree.ElementTree as tree

from plivo import plivoxml
from twilio.twiml.voice_response import Connect, Stream, VoiceResponse

# Twilio's SDK spells attributes in snake_case and takes unknown ones silently, so these are all that it names.
TWILIO_STREAM = {"name", "url", "track", "statusCallback", "statusCallbackMethod"}


def canonical(text):
    return tree.canonicalize(text, strip_text=True)


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def twilio(response):
    built = VoiceResponse()
    connect = Connect()
    for stream in response.findall("Connect/Stream"):
        assert set(stream.attrib) <= TWILIO_STREAM, stream.attrib
        ours = Stream(**{snake(name): value for name, value in stream.attrib.items()})
        for parameter in stream.findall("Parameter"):
            ours.parameter(**parameter.attrib)
        connect.append(ours)
    return str(built.append(connect))


def plivo(response):
    built = plivoxml.ResponseElement()
    for stream in response.findall("Stream"):
        # The SDK wants booleans as such, and refuses other words for the tracks and methods that it knows.
        words = {"true": True, "false": False}
        attributes = {name: words.get(value, value) for name, value in stream.attrib.items()}
        built.add(plivoxml.StreamElement(stream.text.strip(), **attributes))
    return built.to_string()


def main(path):
    with open(path, encoding="utf-8") as file:
        examples = re.findall(r"^```xml\n(.*?)^```", file.read(), flags=re.M | re.S)
    found = {}
    for example in examples:
        response = tree.fromstring(example)
        vendor, build = ("twilio", twilio) if response.find("Connect") is not None else ("plivo", plivo)
        assert vendor not in found, f"two examples of {vendor}"
        found[vendor] = {"documented": canonical(example), "built": canonical(build(response))}
    print(json.dumps(found))


main(sys.argv[1])
