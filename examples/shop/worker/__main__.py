"""Takes orders from the queue. It outlives a queue that goes away: being blocked is no reason to end."""

import os
import time

import redis

with open(os.environ["REDIS_PASSWORD_FILE"], encoding="utf-8") as file:
    password = file.read().strip()

queue = redis.Redis(port=int(os.environ.get("REDIS_PORT", "6380")), password=password, socket_timeout=5)
while True:
    try:
        queue.set("worker:beat", time.time(), ex=60)
        taken = queue.blpop(["orders"], timeout=1)
        if taken:
            queue.incr("delivered")
            print("delivered", taken[1].decode(), flush=True)
    except redis.RedisError as error:
        print("waiting for the queue:", error, flush=True)
        time.sleep(1)
