"""`/v1/responses` against a scripted engine. `test_f..` names a statement of the wire contract."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine import ChatPrompt, EngineFault
from server.settings import ServerSettings
from tests.fakes import ScriptedEngine
from tests.server.client import MODEL, Client, Reply

PATH = "/v1/responses"
TOOL = {"type": "function", "name": "f", "description": None, "parameters": {"type": "object"}}
CUSTOM = {"type": "custom", "name": "shout"}
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


def client(reply: str = "hello", **values: Any) -> Client:
    return Client(ScriptedEngine(reply=reply, tool_call_format="hermes", **values))


def create(one: Client, value: Any = "Hi", **fields: Any) -> Reply:
    return one.post(PATH, {"model": MODEL, "input": value, **fields})


def events(reply: Reply) -> list[dict[str, Any]]:
    """The events of a stream, read as strictly as the strictest client."""
    assert reply.headers["content-type"].startswith("text/event-stream")
    *blocks, rest = reply.content.decode().split("\n\n")
    assert rest == ""
    told = []
    for number, block in enumerate(blocks):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        told.append(event)
    return told


def streamed(one: Client, **fields: Any) -> list[dict[str, Any]]:
    return events(create(one, stream=True, **fields))


def messages(one: Client) -> tuple[dict[str, Any], ...]:
    prompt = one.engine.prompts[-1]
    assert isinstance(prompt, ChatPrompt)
    return prompt.messages


def shape(response: dict[str, Any]) -> dict[str, Any]:
    """The response without what differs from one to the next."""
    text = json.dumps(response)
    ids = [response["id"], *(item["id"] for item in response["output"])]
    ids += [item["call_id"] for item in response["output"] if "call_id" in item]
    for place, name in enumerate(ids):
        text = text.replace(name, f"id{place}")
    return {**json.loads(text), "created_at": 0, "completed_at": 0}


def test_f65_a_stored_response_can_be_read_and_deleted() -> None:
    one = client()
    made = create(one).json
    [item] = made["output"]
    assert item["content"][0]["text"] == "hello" and made["status"] == "completed"
    path = f"{PATH}/{made['id']}"
    assert one.get(path).json == made
    gone = one.request("DELETE", path).json
    assert gone == {"id": made["id"], "object": "response", "deleted": True}
    for method in ("GET", "DELETE"):
        reply = one.request(method, path)
        assert reply.status == 404 and set(reply.error) == {"message", "type", "param", "code"}


def test_all_required_keys_are_there() -> None:
    made = create(client(), metadata={"a": "b"}, user="me", text={"verbosity": "low"}).json
    needed = (
        "id object created_at error incomplete_details instructions model tools output "
        "parallel_tool_calls metadata tool_choice temperature top_p status completed_at "
        "max_output_tokens previous_response_id reasoning store text truncation usage user "
        "background service_tier top_logprobs"
    )
    assert set(needed.split()) <= set(made)
    assert made["metadata"] == {"a": "b"} and made["user"] == "me"
    assert made["text"]["format"] == {"type": "text"}


def test_f66_a_conversation_goes_on_without_the_old_instructions() -> None:
    one = client()
    first = create(one, instructions="Be brief.").json
    second = create(one, "And?", previous_response_id=first["id"]).json
    assert [(m["role"], m["content"]) for m in messages(one)] == [
        ("user", "Hi"),
        ("assistant", "hello"),
        ("user", "And?"),
    ]
    create(one, "So?", previous_response_id=second["id"], instructions="Shout.")
    assert [m["role"] for m in messages(one)] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]


def test_a_conversation_outlives_its_beginning() -> None:
    one = client()
    first = create(one).json
    second = create(one, "And?", previous_response_id=first["id"]).json
    one.request("DELETE", f"{PATH}/{first['id']}")
    create(one, "So?", previous_response_id=second["id"])
    assert len(messages(one)) == 5


def test_f67_what_is_not_stored_cannot_be_gone_on_from() -> None:
    one = client()
    made = create(one, store=False).json
    assert one.get(f"{PATH}/{made['id']}").status == 404
    reply = create(one, previous_response_id=made["id"])
    assert reply.status == 400
    assert reply.error["code"] == "previous_response_not_found"
    assert reply.error["param"] == "previous_response_id"


TEXT_ORDER = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    *["response.output_text.delta"] * 5,
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


def test_f68_f71_the_events_of_a_text() -> None:
    one = client()
    told = streamed(one)
    assert [event["type"] for event in told] == TEXT_ORDER
    assert told[0]["response"]["status"] == "in_progress" and told[0]["response"]["usage"] is None
    added, done, last = told[2]["item"], told[-2]["item"], told[-1]["response"]
    assert added["content"] == [] and added["status"] == "in_progress"
    assert {event["item_id"] for event in told if "item_id" in event} == {added["id"]}
    assert done["id"] == added["id"] and last["output"] == [done]
    assert "".join(event["delta"] for event in told[4:9]) == told[9]["text"] == "hello"
    assert told[10]["part"] == done["content"][0]
    assert shape(last) == shape(create(one).json)
    assert one.get(f"{PATH}/{last['id']}").json == last


def test_f69_the_events_of_a_call() -> None:
    one = client(f"Well.\n{CALL}")
    told = streamed(one, tools=[TOOL])
    kinds = [event["type"].removeprefix("response.") for event in told]
    call = kinds[kinds.index("output_item.done") + 1 :]
    assert call[0] == "output_item.added"
    assert set(call[1:-3]) == {"function_call_arguments.delta"}
    assert call[-3:] == ["function_call_arguments.done", "output_item.done", "completed"]
    done, item = told[-3], told[-2]["item"]
    assert (done["name"], done["arguments"]) == ("f", '{"a": 1}')
    assert item["arguments"] == '{"a": 1}' and item["id"] != item["call_id"]
    deltas = [event["delta"] for event in told if event["type"].endswith("arguments.delta")]
    assert "".join(deltas) == '{"a": 1}'
    assert [event["output_index"] for event in told if "item" in event] == [0, 0, 1, 1]
    assert shape(told[-1]["response"]) == shape(create(one, tools=[TOOL]).json)


def test_f69_the_events_of_a_custom_call() -> None:
    reply = '<tool_call>\n{"name": "shout", "arguments": {"input": "hey\\n"}}\n</tool_call>'
    one = client(reply)
    told = streamed(one, tools=[CUSTOM], tool_choice={"type": "custom", "name": "shout"})
    kinds = [event["type"].removeprefix("response.") for event in told[2:-1]]
    assert kinds == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    item = told[-1]["response"]["output"][0]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "shout", "hey\n")


def test_the_events_of_reasoning() -> None:
    one = client("<think>Hm</think>Yes", reasons=True)
    told = streamed(one, reasoning={"effort": "high"})
    kinds = [event["type"].removeprefix("response.") for event in told]
    assert kinds[2:9] == [
        "output_item.added",
        "content_part.added",
        *["reasoning_text.delta"] * 2,
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
    ]
    reasoning, message = told[-1]["response"]["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Hm"}]
    assert reasoning["summary"] == [] and message["content"][0]["text"] == "Yes"
    usage = told[-1]["response"]["usage"]
    assert usage["output_tokens_details"] == {"reasoning_tokens": 2}


def test_f70_a_response_that_is_cut() -> None:
    told = streamed(client(), max_output_tokens=2)
    assert told[-1]["type"] == "response.incomplete"
    response = told[-1]["response"]
    assert response["status"] == "incomplete" and response["usage"]["output_tokens"] == 2
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"


def test_a_failure_in_mid_stream() -> None:
    told = streamed(client(fail_with=EngineFault("gone"), fail_after=2))
    assert told[-1]["type"] == "response.failed"
    assert told[-1]["response"]["status"] == "failed"
    assert set(told[-1]["response"]["error"]) == {"code", "message"}


def test_f72_usage_has_all_its_keys() -> None:
    usage = create(client(cached_tokens=3)).json["usage"]
    assert usage["input_tokens_details"] == {"cached_tokens": 3, "cache_write_tokens": 0}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_f73_text_format_is_flat() -> None:
    one = client()
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "x", "schema": schema}
    made = create(one, text={"format": form}).json
    grammar = one.engine.requests[0].params.grammar
    assert grammar is not None and grammar.kind == "json_schema"
    assert made["text"]["format"] == form
    nested = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = create(one, text={"format": nested})
    assert reply.status == 400 and reply.error["param"] == "text.format.schema"


def test_input_items_of_all_kinds_reach_the_template() -> None:
    one = client()
    items = [
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": None},
        {
            "type": "reasoning",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm"}],
        },
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "hey"},
        {"type": "function_call_output", "call_id": "c1", "output": "1"},
        {
            "type": "custom_tool_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "2"}],
        },
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
        {"role": "user", "content": "So?"},
    ]
    assert create(one, items).status == 200
    system, user, assistant, first, second, last = messages(one)
    assert (system["role"], user["content"], last["content"]) == ("system", "Hi", "So?")
    assert assistant["content"] == "Let me see." and assistant["reasoning_content"] == "Hm"
    assert [call["function"] for call in assistant["tool_calls"]] == [
        {"name": "f", "arguments": {"a": 1}},
        {"name": "g", "arguments": {"input": "hey"}},
    ]
    assert [(m["role"], m["tool_call_id"], m["content"]) for m in (first, second)] == [
        ("tool", "c1", "1"),
        ("tool", "c2", "2"),
    ]


def test_an_item_can_be_named_instead_of_sent() -> None:
    one = client()
    made = create(one).json
    reference = {"type": "item_reference", "id": made["output"][0]["id"]}
    create(one, [reference, {"role": "user", "content": "So?"}])
    assert [m["content"] for m in messages(one)] == ["hello", "So?"]
    create(one, [reference], previous_response_id=made["id"])
    reply = create(one, [{"id": "msg_unknown"}])
    assert reply.status == 400 and reply.error["param"] == "input[0].id"


def test_input_items_are_listed_in_pages() -> None:
    one = client()
    made = create(one, [{"role": "user", "content": str(n)} for n in range(5)]).json
    path = f"{PATH}/{made['id']}/input_items"

    def texts(page: dict[str, Any]) -> list[str]:
        return [item["content"][0]["text"] for item in page["data"]]

    newest = one.get(f"{path}?limit=2").json
    assert texts(newest) == ["4", "3"] and newest["has_more"]
    assert (newest["first_id"], newest["last_id"]) == tuple(i["id"] for i in newest["data"])
    rest = one.get(f"{path}?limit=5&after={newest['last_id']}").json
    assert texts(rest) == ["2", "1", "0"] and not rest["has_more"]
    assert texts(one.get(f"{path}?order=asc").json) == ["0", "1", "2", "3", "4"]
    for query in ("limit=0", "limit=101", "limit=x", "order=up", "after=x"):
        assert one.get(f"{path}?{query}").status == 400


def test_counting_input_tokens() -> None:
    one = client()
    counted = one.post(f"{PATH}/input_tokens", {"model": MODEL, "input": "Hi"}).json
    assert counted["object"] == "response.input_tokens"
    assert counted["input_tokens"] == create(one).json["usage"]["input_tokens"]


def test_what_is_not_offered() -> None:
    one = client()
    made = create(one).json
    assert one.post(f"{PATH}/{made['id']}/cancel", {}).status == 400
    assert one.post(f"{PATH}/compact", {}).status == 404
    assert one.get(f"{PATH}/{made['id']}?stream=true").status == 400
    assert one.post(f"{PATH}/resp_x/cancel", {}).status == 404


def test_hosted_tools_are_left_out() -> None:
    one = client()
    tools = [TOOL, {"type": "web_search"}, {"type": "local_shell"}]
    made = create(one, tools=tools).json
    assert [tool["type"] for tool in made["tools"]] == ["function", "web_search", "local_shell"]
    prompt = one.engine.prompts[0]
    assert isinstance(prompt, ChatPrompt) and len(prompt.template_args["tools"]) == 1  # type: ignore[arg-type]
    reply = create(one, tools=tools, tool_choice={"type": "web_search"})
    assert reply.status == 400 and reply.error["param"] == "tool_choice"
    strict = Client(one.engine, ServerSettings(strict_fields=True))
    assert create(strict, tools=tools).error["code"] == "unknown_parameter"


def test_logprobs_come_when_they_are_included() -> None:
    one = client()
    include = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    told = streamed(one, include=include, top_logprobs=2)
    entries = [
        entry
        for event in told
        if event["type"].endswith("text.delta")
        for entry in event["logprobs"]
    ]
    assert "".join(entry["token"] for entry in entries) == "hello"
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
    assert told[-1]["response"]["output"][0]["content"][0]["logprobs"] == entries


def test_too_long_an_input_is_refused_or_cut() -> None:
    one = client(max_model_len=120)
    items = [{"role": "user", "content": f"{n}" * 30} for n in range(9)]
    reply = create(one, items)
    assert reply.status == 400
    assert (reply.error["code"], reply.error["param"]) == ("context_length_exceeded", "input")
    assert create(one, items, truncation="auto", max_output_tokens=5).status == 200
    assert [m["content"][0] for m in messages(one)] == ["7", "8"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"conversation": "c"}, "conversation"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"functions": [{}]}, "functions"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"max_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"truncation": "some"}, "truncation"),
        ({"reasoning": {"effort": "some"}}, "reasoning.effort"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        (
            {"tools": [{"type": "custom", "name": "x", "format": {"type": "grammar"}}]},
            "tools[0].format",
        ),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": 1}, "text"),
        ({"input": 1}, "input"),
        ({"input": []}, "input"),
        ({"input": [1]}, "input[0]"),
        ({"input": [{"type": "dream"}]}, "input[0]"),
        ({"input": [{"role": "tool", "content": ""}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0]",
        ),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"model": "other"}, "model"),
    ],
)
def test_bad_requests_name_their_field(fields: dict[str, Any], param: str) -> None:
    reply = client().post(PATH, {"model": MODEL, "input": "Hi", **fields})
    assert reply.status in (400, 404), reply.content
    assert reply.error["param"] == param
