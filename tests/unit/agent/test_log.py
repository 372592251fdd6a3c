import json

from dpki.agent.log import log_line


def test_plain_words_stand_as_they_are() -> None:
    line = log_line("installed", {"block": 7, "changed": ("a.krl", "b.db"), "reloaded": True})
    assert line == "event=installed block=7 changed=a.krl,b.db reloaded=yes"


def test_what_is_empty_is_left_out() -> None:
    assert log_line("state", {"problems": (), "reloaded": False, "clock": ""}) == "event=state"


def test_nobody_elses_words_make_a_line_or_a_field() -> None:
    hostile = 'x\ny=1 "z'
    line = log_line("refused", {"reason": hostile})
    assert "\n" not in line
    assert json.loads(line.removeprefix("event=refused reason=")) == hostile
