"""What several threads write into one job's folder at the same time."""

import threading
import time
from pathlib import Path

from tests.runs.conftest import until
from tl_core.documents.events import Event, Notice, Progress, Resumed, StageStarted, Status
from tl_core.runs.process.recorder import Recorder
from tl_core.runs.store.job_folder import JobFolder

EACH = 300


def _job(tmp_path: Path) -> JobFolder:
    (tmp_path / "reserve").touch()
    return JobFolder(tmp_path)


def test_lines_of_two_threads_stay_whole_and_in_the_order_of_time(tmp_path: Path) -> None:
    job = _job(tmp_path)
    recorder = Recorder(job)

    def write(who: str) -> None:
        for number in range(EACH):
            recorder.write(Notice(message=f"{who} {number} " + who * 2000))
            recorder.write(Progress(stage="training", done=number, total=EACH))

    threads = [threading.Thread(target=write, args=(who,)) for who in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.end()
    recorder.close()
    events, offset = job.events()
    assert offset == (tmp_path / "events.jsonl").stat().st_size, "every line is an event"
    assert len((tmp_path / "events.jsonl").read_bytes().splitlines()) == len(events)
    said = [event.message.split()[:2] for event in events if isinstance(event, Notice)]
    for who in "ab":
        assert [int(number) for name, number in said if name == who] == list(range(EACH))
    times = [event.time for event in events]
    assert times == sorted(times)


def test_a_sampler_that_fails_is_logged_and_the_job_goes_on(tmp_path: Path) -> None:
    def look() -> Event | None:
        raise OSError("no such sensor")

    job = _job(tmp_path)
    recorder = Recorder(job)
    recorder.sample(look, 0.005)
    until(
        lambda: (
            "A sampler stopped: OSError: no such sensor" in (job.log_file.read_text() if job.log_file.exists() else "")
        )
    )
    recorder.end()
    recorder.close()
    assert job.status().state == "succeeded"


def test_a_sampler_speaks_beside_the_job_until_the_job_has_ended(tmp_path: Path) -> None:
    job = _job(tmp_path)
    recorder = Recorder(job)
    looked: list[threading.Thread] = []

    def look() -> Event | None:
        looked.append(threading.current_thread())
        return Notice(message=f"{50 + len(looked)} degrees") if len(looked) % 2 else None

    recorder.sample(look, 0.005)
    recorder.write(StageStarted(stage="training", title="Training"))
    until(lambda: len([event for event in job.events()[0] if isinstance(event, Notice)]) >= 3)
    recorder.end()
    recorder.write(Notice(message="too late"))
    recorder.close()
    events, _ = job.events()
    assert events[-1].type == "ended"
    assert all(event.message.endswith(" degrees") for event in events if isinstance(event, Notice))
    until(lambda: not looked[0].is_alive())


def test_the_seconds_of_a_job_that_goes_on_count_what_it_took_before(tmp_path: Path) -> None:
    job = _job(tmp_path)
    (tmp_path / "spec.json").touch()
    before = {"waiting": 50.0, "preparing": 10.0, "training": 1000.0, "total": 1010.0}
    resumed = Resumed(epoch=4, seconds=before)
    Status(state="queued", started=5.0, seconds=before, resumed=resumed).write(job.status_file)
    recorder = Recorder(job)
    begun = time.monotonic()
    recorder.write(StageStarted(stage="preparing", title="Preparing the pictures"))
    recorder.write(StageStarted(stage="training", title="Training"))
    recorder.end()
    taken = time.monotonic() - begun
    recorder.close()
    status = job.status()
    assert (status.started, status.resumed) == (5.0, resumed)
    assert status.seconds["waiting"] == 50
    assert 1000 <= status.seconds["training"] <= 1000 + taken + 0.001
    assert 1010 <= status.seconds["total"] <= 1010 + taken + 0.1
    first, *_ = job.events()[0]
    assert isinstance(first, Resumed)


def test_what_another_worker_left_does_not_count(tmp_path: Path) -> None:
    job = _job(tmp_path)
    (tmp_path / "spec.json").touch()
    Status(state="running", started=5.0, seconds={"training": 1000.0}).write(job.status_file)
    recorder = Recorder(job)
    recorder.end()
    recorder.close()
    assert job.status().seconds["total"] < 1000
    assert not any(isinstance(event, Resumed) for event in job.events()[0])
