#!/usr/bin/env python3
"""Writes down what is said in WAVs (mono, 16 bits), with a recogniser that is not the platform's own code.

    transcribe.py FILE...

Prints {FILE: TEXT} as JSON.
"""

import json
import sys

from moonshine_voice.moonshine_api import ModelArch
from moonshine_voice.transcriber import Transcriber
from moonshine_voice.utils import get_model_path, load_wav_file


def main():
    recogniser = Transcriber(str(get_model_path("tiny-en")), ModelArch.TINY)
    found = {}
    for path in sys.argv[1:]:
        samples, rate = load_wav_file(path)
        transcript = recogniser.transcribe_without_streaming(samples, rate)
        found[path] = " ".join(line.text.strip() for line in transcript.lines)
    print(json.dumps(found))


main()
