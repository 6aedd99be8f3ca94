"""What a campaign does where something does not go as it must."""

from __future__ import annotations

from pathlib import Path

from chaos.diary import Diary
from chaos.hands import carry_out
from chaos.schedule import Fault
from rig.faults import Ground
from rig.instance import Instance
from rig.line import Line
from rig.servers import Server


class Failing(Instance):
    """It ends with exit code 3."""

    starts = 0

    def stop(self, *, seconds: float = 0.0) -> int:
        return 3

    def start(self) -> None:
        self.starts += 1

    def await_ready(self) -> None:
        pass


async def test_a_wrong_exit_code_is_noted_and_the_instance_started_again(tmp_path: Path) -> None:
    """The campaign goes on with the next fault."""
    instance, diary = Failing(tmp_path, name="one"), Diary()
    async with Line("redis://127.0.0.1:1") as line:
        ground = Ground(redis=Server(tmp_path), line=line, instances=[instance])
        await carry_out(ground, [Fault("instance restarted", 0, target="1"), Fault("all restarted", 0)], diary)
    assert diary.faults == [f"{instance} was told to stop and ended with 3"] * 2
    assert instance.starts == len(diary.entries) == 2
