"""Scripts: what the server does in one step, with all or nothing of it written.

A script may be repeated: each checks what it expects. Apart from the broker, which takes long to import: commands run
scripts too.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

__all__ = ["Script"]

_SCRIPTS: Final = Path(__file__).parent / "scripts"


class Script:
    """A Lua script of `processors/runtime/scripts`, run by its digest, loaded where the server does not know it.

    Made at import, because it reads a file.
    """

    def __init__(self, name: str) -> None:
        self._text = (_SCRIPTS / f"{name}.lua").read_text(encoding="utf-8")
        # The server's name for it.
        self._sha = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    async def run(self, client: Redis, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """What the script returns. Raises redis-py's errors. Cancellation: it may or may not have run."""
        [answer] = await self.run_many(client, [(keys, args)])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def run_many(self, client: Redis, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        """What the script returns for each of `calls`, or the error it raised, in one round trip.

        redis-py's own script objects ask SCRIPT EXISTS before every pipeline: a second round trip each time.
        """
        answers = await self._send(client, calls)
        unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            # A script that is not known has not run.
            await client.script_load(self._text)
            again = await self._send(client, [calls[index] for index in unknown])
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        return answers

    async def _send(self, client: Redis, calls: Sequence[tuple[Sequence[str], Sequence[Any]]]) -> list[Any]:
        if len(calls) == 1:
            [(keys, args)] = calls
            try:
                return [await client.evalsha(self._sha, len(keys), *keys, *args)]
            except ResponseError as error:
                return [error]
        async with client.pipeline(transaction=False) as pipe:
            for keys, args in calls:
                # A cluster's pipeline has no `evalsha`, though it knows where each goes.
                pipe.execute_command("EVALSHA", self._sha, len(keys), *keys, *args)
            return await pipe.execute(raise_on_error=False)
