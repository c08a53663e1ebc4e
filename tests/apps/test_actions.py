"""What clicks do, without a browser: who sees what, and what people read when something is wrong."""

import logging
from pathlib import Path

import gradio as gr
import pytest

from genaisys.apps.actions import Actions, Visit, plain
from genaisys.apps.conversation import Turn
from genaisys.apps.workspace import Workspace
from genaisys.errors import GenaisysError
from genaisys.retrieval import collections


@pytest.fixture
def actions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Actions:
    monkeypatch.setenv("GENAISYS_HOME", str(tmp_path))
    (tmp_path / "uploads").mkdir()
    return Actions(Workspace(), None, tmp_path / "uploads")


def event(**data: object) -> gr.EventData:
    return gr.EventData(None, data)


def test_there_is_always_a_collection_to_be_in(actions: Actions) -> None:
    assert actions.enter().collection == "Documents"
    assert collections.names() == ["Documents"]


def test_conversations_are_the_visitors_own_and_stay_with_their_collection(actions: Actions) -> None:
    one, other = actions.enter(), actions.enter()
    actions.ask(one, "Who?")
    assert [turn.question for turn in one.turns] == ["Who?"]
    assert not other.turns
    actions.create(one, event(name="Second"))
    assert (one.collection, one.turns) == ("Second", [])
    actions.switch(one, event(name="Documents"))
    assert [turn.question for turn in one.turns] == ["Who?"]


def test_one_question_at_a_time(actions: Actions) -> None:
    visit = actions.enter()
    for question in ("Who?", "When?", "   "):
        actions.ask(visit, question)
    assert [turn.question for turn in visit.turns] == ["Who?"]
    actions.stop(visit)
    actions.ask(visit, "When?")
    assert [turn.state for turn in visit.turns] == ["stopped", "waiting"]


def test_a_stopped_question_is_not_answered_after_all(actions: Actions) -> None:
    visit = actions.enter()
    actions.ask(visit, "Who?")
    actions.stop(visit)
    assert list(actions.answer(visit)) == []


def test_who_is_in_a_deleted_collection_finds_another(actions: Actions) -> None:
    one, other = actions.enter(), actions.enter()
    actions.create(one, event(name="Gone soon"))
    actions.switch(other, event(name="Gone soon"))
    actions.drop(one, event(name="Gone soon"))
    assert one.collection == "Documents"
    actions.show_library(other)
    assert other.collection == "Documents"
    assert collections.names() == ["Documents"]


def test_what_the_server_is_told_does_not_have_to_exist(actions: Actions) -> None:
    visit = actions.enter()
    assert "no longer in the collection" in actions.open(visit, event(source="none", start="0", end="0"))
    assert "no collection called nowhere" in actions.drop(visit, event(name="nowhere"))[0]
    actions.delete(visit, event(source="none"))
    actions.switch(visit, event(name="nowhere"))
    assert visit.collection == "Documents"


def test_a_damaged_store_is_one_plain_line_on_the_page(actions: Actions) -> None:
    visit = actions.enter()
    (collections.store_of("Documents") / "index.db").write_bytes(b"not a database" * 100)
    for part in actions.show_library(visit)[1:]:
        assert "class='error'" in part
        assert "Traceback" not in part
    actions.ask(visit, "Who?")
    assert visit.turns[-1].state == "waiting"


def test_a_failed_answer_says_why_and_the_next_question_can_be_asked(actions: Actions) -> None:
    visit = actions.enter()
    visit.model = "no-such-model"
    actions.ask(visit, "Who?")
    list(actions.answer(visit))
    assert visit.turns[-1].state == "failed"
    assert "no-such-model" in visit.turns[-1].error
    assert "\n" not in visit.turns[-1].error
    actions.ask(visit, "Who else?")
    assert len(visit.turns) == 2


def test_defects_are_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    assert plain(GenaisysError("the disk is full; make room")) == "the disk is full; make room"
    with caplog.at_level(logging.ERROR):
        assert "secret" not in plain(ValueError("secret detail"))
    assert "secret detail" in caplog.text


def test_a_visit_has_one_conversation_for_each_collection() -> None:
    visit = Visit("A")
    visit.turns.append(Turn("Who?"))
    visit.collection = "B"
    assert visit.turns == []
