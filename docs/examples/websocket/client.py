#!/usr/bin/env python3
"""A dialler in forty lines: its caller says one WAV to the bot, and hears what is written into another.

    pip install websockets
    RINGFLEET_KEY=... client.py wss://fleet.example.com/ws/BOT_ID says.wav heard.wav    (8 kHz, mono, 16 bits)
"""
import asyncio, base64, json, os, sys, time, wave
from websockets.asyncio.client import connect

CONNECTED = {"event": "connected", "callerId": "+919876543210", "did": "+911140001234", "callDirection": "incoming",
             "streamId": f"stream-{os.urandom(4).hex()}", "customer_name": "Peter", "loan_number": "LN123456"}
START = {"event": "start", "mediaFormat": {"encoding": "LINEAR", "sampleRate": 8000, "channels": 1}}

async def call(url, says, heard):
    buffer = bytearray()  # said by the bot, and not yet heard by the caller
    async with connect(url, additional_headers={"X-API-Key": os.environ["RINGFLEET_KEY"]}) as socket:
        async def line():
            due = time.monotonic()
            while frame := says.readframes(160):  # 20 ms
                payload = base64.b64encode(frame.ljust(320, b"\0")).decode()
                await socket.send(json.dumps({"event": "media", "payload": payload}))
                heard.writeframes(bytes(buffer[:320]).ljust(320, b"\0"))
                del buffer[:320]
                due += 0.02
                await asyncio.sleep(due - time.monotonic())
            await socket.send(json.dumps({"event": "hangup-call", "disconnectedBy": "customer"}))

        for message in (CONNECTED, START, {"event": "answer"}):
            await socket.send(json.dumps(message))
        talking = asyncio.create_task(line())
        async for text in socket:  # until the bot closes
            match json.loads(text):
                case {"event": "reverse-media", "payload": payload}:
                    buffer += base64.b64decode(payload)
                case {"event": "reverse-media-stop"}:  # the caller broke in, or the call ends
                    buffer.clear()
                case {"event": "reverse-hangup-call", "message": reason}:
                    print(reason)
        talking.cancel()

with wave.open(sys.argv[2], "rb") as says, wave.open(sys.argv[3], "wb") as heard:
    heard.setparams((1, 2, 8000, 0, "NONE", ""))
    asyncio.run(call(sys.argv[1], says, heard))
