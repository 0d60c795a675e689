"""From texts to token ids and back. Text from data stays text: it never turns into a control token."""

import re
from collections.abc import Collection
from copy import deepcopy
from datetime import date
from itertools import takewhile

from transformers import AddedToken, PreTrainedTokenizerBase

from harness.api import HarnessError

ANSWER_CUE = "Your answer:"  # how every prompt ends
_PLACEHOLDER = "thetextoftheuser"
# Templates that show the date get the same one every day, or a prompt would change overnight. Their function for it
# cannot be handed in, but a macro of its name stands before it.
_TODAY = date(2024, 7, 26)
_CODES = ("%d", "%e", "%j", "%a", "%A", "%b", "%B", "%m", "%y", "%Y", "%H", "%I", "%M", "%S", "%p")
_REPLACED = "".join(f"|replace('{code}', '{_TODAY.strftime(code)}')" for code in _CODES)
_CLOCK = f"{{%- macro strftime_now(form) -%}}{{{{ form|replace('%-', '%'){_REPLACED} }}}}{{%- endmacro -%}}"


class Encoder:
    """Token ids of prompts and of the answers that follow them, the same in training and in asking.

    With a chat template a prompt is one user turn followed by the opening of the assistant's turn. `answer_end` is the
    token that ends an answer: the end of sequence, or the one among `ends`, where generation stops too, that the
    template puts after an assistant's text.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, is_encoder_decoder: bool, ends: Collection[int] = ()
    ) -> None:
        self.tokenizer = tokenizer
        self.is_encoder_decoder = is_encoder_decoder
        self._is_chat = bool(tokenizer.chat_template)
        # Runs of spaces, which some vocabularies add, are text.
        added = [token for token in tokenizer.added_tokens_decoder.values() if token.special or token.content.strip()]
        self._reader = _reader(tokenizer, added)
        # Unigram vocabularies (T5) hold their special tokens as ordinary pieces too and would find them in any text.
        self._found = [token.content for token in added if self._finds(token.content)]
        self._ends = {*ends, tokenizer.eos_token_id}
        self.answer_end: int = tokenizer.eos_token_id
        self._gap = " "
        if self._is_chat:
            self._before, self._head, self._tail, self._after, self._cue = self._template(_pattern(added))
            before, after = self._around_answer()
            self._gap = before if self._cue or not self._begins_with_space() else ""
            self.answer_end = next((token for token in self._ids(after) if token in self._ends), self.answer_end)

    def prompt_ids(self, prompt: str) -> list[int]:
        """The prompt as the model reads it: template, begin of sequence and, for T5, the end included."""
        if not self._is_chat:
            ids = self._plain(prompt, add_special_tokens=True)
            # Some tokenizers of decoders end every text, after which no answer would follow.
            while not self.is_encoder_decoder and ids[-1:] == [self.tokenizer.eos_token_id]:
                ids.pop()
            return ids
        return self._before + self._plain(self._head + prompt + self._tail) + self._after

    def answer_ids(self, output: str) -> list[int]:
        """The tokens with which the model would write `output` after a prompt, without `answer_end`.

        After a plain prompt a space stands between the cue and the answer; `decode` takes it off again. In a chat the
        cue is what the template writes after its last special token, and between the two stands what the template puts
        there in a whole conversation, which the model has to write itself.
        """
        if not output:
            return []
        if self.is_encoder_decoder:
            return self._plain(output)
        if self._is_chat:
            cue, both = self._plain(self._cue), self._plain(self._cue + self._gap + output)
            return both[len(cue) :] if both[: len(cue)] == cue else self._plain(self._gap + output)
        cue, both = self._plain(ANSWER_CUE), self._plain(ANSWER_CUE + self._gap + output)
        shared = takewhile(lambda pair: pair[0] == pair[1], zip(cue, both, strict=False))
        return both[len(list(shared)) :]

    def decode(self, ids: list[int]) -> str:
        """The text of generated ids, without the token that ends it, special ones and what stands after the cue."""
        said = ids[:-1] if ids and ids[-1] in self._ends else ids  # not every vocabulary marks its ends as special
        text = str(self.tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False))
        return text.removeprefix(self._gap if self._gap and text.startswith(self._gap) else " ")

    def _plain(self, text: str, add_special_tokens: bool = False) -> list[int]:
        for token in self._found:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return self._reader(text, add_special_tokens=add_special_tokens, split_special_tokens=True)["input_ids"]

    def _finds(self, token: str) -> bool:
        ids = self._reader(token, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return self.tokenizer.convert_tokens_to_ids(token) in ids

    def _template(self, special: re.Pattern[str]) -> tuple[list[int], str, str, list[int], str]:
        """(ids before, text before, text after, ids after) of a user's text, and the text that an answer follows.

        The template is cut at its special tokens next to the text, where a tokenizer starts anew anyhow: the ids are
        those of the whole rendered template, unless the text holds special tokens itself.
        """
        try:
            rendered = self._render([{"role": "user", "content": _PLACEHOLDER}], add_generation_prompt=True)
        except Exception as error:  # a template is a program, and may raise anything
            raise HarnessError(
                f"The tokenizer's chat template refuses a single user turn, or does not compile: {_first_line(error)} "
                "Save the tokenizer with a chat_template that takes one message of the user, or without one."
            ) from error
        if rendered.count(_PLACEHOLDER) != 1:
            raise HarnessError(
                "The tokenizer's chat template does not show a user's text exactly once, so prompts cannot be built "
                "from it. Save the tokenizer with a simpler chat_template, or without one."
            )
        head, tail = rendered.split(_PLACEHOLDER)
        start = max((match.end() for match in special.finditer(head)), default=0)
        end = min((match.start() for match in special.finditer(tail)), default=len(tail))
        cue = tail[max((match.end() for match in special.finditer(tail)), default=len(tail)) :]
        return self._ids(head[:start]), head[start:], tail[:end], self._ids(tail[end:]), cue

    def _around_answer(self) -> tuple[str, str]:
        """(the white space between a prompt and an assistant's text, all that follows the text), as far as known."""
        question = {"role": "user", "content": "a"}
        asked = self._render([question], add_generation_prompt=True)
        try:
            answered = self._render(
                [question, {"role": "assistant", "content": _PLACEHOLDER}], add_generation_prompt=False
            )
        except Exception:  # a template for single questions; an answer ends as a text does
            return "", ""
        head, _, tail = answered.rpartition(_PLACEHOLDER)
        gap = head.removeprefix(asked) if head.startswith(asked) else ""
        return "" if gap.strip() else gap, tail

    def _begins_with_space(self) -> bool:
        """Whether any text begins with a space for this vocabulary, as for those of the SentencePiece kind."""
        return any(token.startswith("▁") for token in self.tokenizer.convert_ids_to_tokens(self._plain("a")[:1]))

    def _render(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
        template = self.tokenizer.get_chat_template()
        rendered = self.tokenizer.apply_chat_template(
            turns,
            chat_template=_CLOCK + template if "strftime_now" in template else template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            enable_thinking=False,  # a thinking block would use up the few tokens of an answer
            date_string=_TODAY.strftime("%d %b %Y"),
        )
        assert isinstance(rendered, str)
        return rendered

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]


def _reader(tokenizer: PreTrainedTokenizerBase, added: list[AddedToken]) -> PreTrainedTokenizerBase:
    """A tokenizer that reads every token in `added` as text where it is told to split special tokens."""
    plain = [token for token in added if not token.special]
    if not plain:
        return tokenizer
    reader = deepcopy(tokenizer)
    marked = [
        AddedToken(t.content, special=True, normalized=t.normalized, lstrip=t.lstrip, rstrip=t.rstrip) for t in plain
    ]
    reader.add_tokens(marked, special_tokens=True)
    return reader


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".") + "."


def _pattern(added: list[AddedToken]) -> re.Pattern[str]:
    """Matches any special token, with the white space it swallows."""
    parts = [r"\s*" * t.lstrip + re.escape(t.content) + r"\s*" * t.rstrip for t in added]
    return re.compile("|".join(sorted(parts, key=len, reverse=True)) or r"(?!)")
