"""Is the worker working? Exit codes of a Nagios plugin: 0 yes, 2 no, 3 unknown."""

import os
import sys
import time

import redis

with open(os.environ["REDIS_PASSWORD_FILE"], encoding="utf-8") as file:
    password = file.read().strip()

try:
    queue = redis.Redis(port=int(os.environ.get("REDIS_PORT", "6380")), password=password, socket_timeout=1)
    beat = queue.get("worker:beat")
except redis.RedisError as error:
    print("cannot ask the queue:", error)
    sys.exit(3)
if beat is None:
    print("no sign of life")
    sys.exit(2)
age = time.time() - float(beat)
print(f"last beat {age:.1f} s ago")
sys.exit(0 if age < 5 else 2)
