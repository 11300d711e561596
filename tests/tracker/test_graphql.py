import pytest
from finetune_tracker.errors import BadRequest
from finetune_tracker.graphql import Node, Operation, connection, field, page, snake_case


class Pet(Node):
    typename = "Dog"
    interfaces = frozenset({"Animal"})
    columns = frozenset({"full_name"})

    def __init__(self, friends=()):
        self.row, self.friends_ = {"full_name": "Rex", "secret": "x"}, list(friends)

    @field
    def friends(self, first=None):
        return self.friends_[:first]

    @field
    def age(self):
        return 3

    def not_a_field(self):
        return "hidden"


def ask(query, value, **variables):
    operation = Operation(query, variables)
    return {key: operation.project(value, node) for key, _, _, node in operation.root_fields()}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{ pet { fullName age } }", {"fullName": "Rex", "age": 3}),
        ("{ pet { __typename name: fullName } }", {"__typename": "Dog", "name": "Rex"}),
        ("{ pet { secret notAField row } }", {"secret": None, "notAField": None, "row": None}),
        ("{ pet { ... on Animal { age } ... on Cat { fullName } } }", {"age": 3}),
        ("{ pet { ...F } } fragment F on Dog { friends(first: 1) { age } }", {"friends": [{"age": 3}]}),
        ("{ pet { friends { age } friends { fullName } } }", {"friends": [{"age": 3, "fullName": "Rex"}] * 2}),
        ("query($no: Boolean = false) { pet { age @include(if: $no) fullName @skip(if: $no) } }", {"fullName": "Rex"}),
        ("query($n: Int = 1) { pet { friends(first: $n) { age } } }", {"friends": [{"age": 3}]}),
    ],
)
def test_answers_have_the_shape_that_was_asked_for(query, expected):
    assert ask(query, Pet([Pet(), Pet()])) == {"pet": expected}


def test_a_scalar_becomes_a_list_where_one_is_declared():
    operation = Operation("query($s: [JSONString!]!) { f(specs: $s) }", {"s": "{}"})
    assert [arguments for _, _, arguments, _ in operation.root_fields()] == [{"specs": ["{}"]}]


@pytest.mark.parametrize(
    "query",
    [
        "{ pet { ...F } } fragment F on Dog { ...G } fragment G on Dog { ...F }",
        "{ pet { friends } }",
        "query($x: ID!) { pet { age } }",
        "{ pet { age }",
        "{ pet(first: {a: 1}) { age } }",
    ],
)
def test_refused(query):
    with pytest.raises(BadRequest):
        ask(query, Pet([Pet()]))


def test_depth_is_bounded():
    pet = Pet()
    pet.friends_ = [pet]
    with pytest.raises(BadRequest, match="nested deeper"):
        ask("{ pet " + "{ friends " * 50 + "{ age }" + " }" * 50 + " }", pet)


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("displayName", "display_name"),
        ("artifactID", "artifact_id"),
        ("clientIDMapping", "client_id_mapping"),
        ("id", "id"),
    ],
)
def test_names(name, snake):
    assert snake_case(name) == snake


def test_pages():
    found = connection("ab", offset=4, more=True)
    assert [edge["cursor"] for edge in found["edges"]] == ["5", "6"]
    assert page(10, found["pageInfo"]["endCursor"]) == (10, 6)
    assert page(None, None, default=50) == (50, 0)
    assert page(10**9, "", largest=100) == (100, 0)
