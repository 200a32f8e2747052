"""Trains small tokenizers of every supported style and records what the library makes of nasty texts.

Run: python make.py [FOLDER]   (needs the `tokenizers` package; the text is generated, seed fixed)
Writes NAME.json (a tokenizer.json) and NAME.golden.json beside it.
"""
import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

WORDS = ("the of and to in a is that it was for on are as with they be at one have this from by hot "
         "word but what some we can out other were all there when up use your how said each she").split()
OTHERS = ["naïve", "café", "über", "привет", "мир", "日本語", "中文", "नमस्ते", "😀", "I'm", "we'll", "IT'S"]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
DEEPSEEK = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
            r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
MARK = "▁"

TEXTS = [
    "", " ", "  ", "\n", "\r\n\r\n", "\t x", " leading", "trailing  ", "Hello, world!", "Hello   world  \n\n  x",
    "I'm you're WE'LL don't 'sup x'S '\u017fa", "1234567890 12 3,456.78 ٣٤٥ ½ Ⅷ", "naïve café Ångström",
    "e\u0301 é \u1e9b\u0323 q\u0323\u0307 q\u0307\u0323", "日本語のテキスト と 中文", "Привет, мир!", "नमस्ते दुनिया",
    "😀👩\u200d👩\u200d👧🇩🇪 ok", "a\u00a0b\u2003c\u3000d\u200be\u180ef", "ﬁ Å ㈱ ½ ﷺ ǆ İSTANBUL ΣΑΣ", "한국어 텍스트 각",
    "\x00\x01\x7f\x1b[0m", "▁▁ x ▁y", "<s>hi</s> <s> x", "a<|end|>b <|end|> c", "x <mask> y<mask>  z", "[INST] hi [/INST]",
    "word keyword wordy word", "don't won't it's IT'S", "x" * 70, "the" * 40, " " * 50, "\n \n  \n   x", "$%^&*()_+ {}[] <>?",
    "for(i=0;i<10;i++){x+=i;}", "https://example.org/a?b=c&d=e#f", "<0x41>", "\U0001f9d1\U0001f3fd\u200d\U0001f680",
    "mixed日本and中文words", "ends with '", "tab\tand\x0bvertical\x0cfeed\x85next",
]


def corpus():
    rng = random.Random(7)
    for _ in range(3000):
        words = [rng.choice(WORDS if rng.random() < 0.9 else OTHERS) for _ in range(12)]
        yield " ".join(words) + f", {rng.randrange(3000)}.\n"


def train(tokenizer, specials, size, alphabet=()):
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, show_progress=False,
                                  initial_alphabet=list(alphabet))
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def byte_level(pre_tokenizer, specials, normalizer=None, size=420):
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return train(tokenizer, specials, size, pre_tokenizers.ByteLevel.alphabet())


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def template(token, number, after=""):
    return processors.TemplateProcessing(single=f"{token} $A{after}", pair=f"{token} $A $B",
                                         special_tokens=[(token, number)])


def gpt2():
    tokenizer = byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|end|>"])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return with_strings_for_merges(tokenizer)


def llama3():
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = byte_level(pre_tokenizers.Sequence([split(LLAMA3), plain]), ["<s>", "<|end|>"])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(), template("<s>", 0)])
    tokenizer.model.ignore_merges = True
    return json.loads(tokenizer.to_str())


def qwen2():
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer = byte_level(pre_tokenizers.Sequence([split(QWEN2), plain]), ["<|end|>"], normalizers.NFC())
    tokenizer.add_tokens([AddedToken("<mask>", normalized=False), AddedToken("é", normalized=True)])
    return json.loads(tokenizer.to_str())


def several_splits():
    steps = [split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK),
             pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    return json.loads(byte_level(pre_tokenizers.Sequence(steps), ["<s>", "</s>"]).to_str())


def digits():
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    tokenizer = byte_level(pre_tokenizers.Sequence(steps), ["<|end|>"])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False, special=True)])
    tokenizer.add_tokens([AddedToken("word", single_word=True), AddedToken("ok", rstrip=True),
                          AddedToken("wordy  x", lstrip=True)])
    tokenizer.post_processor = template("<|end|>", 0, " <|end|>")
    return json.loads(tokenizer.to_str())


def sentencepiece(pre_tokenizer, normalizer, fuse):
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=fuse))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    train(tokenizer, ["<unk>", "<s>", "</s>"] + BYTES, 520)
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    data["pre_tokenizer"] = pre_tokenizer and json.loads(pre_tokenizer.__getstate__())
    data["normalizer"] = normalizer and json.loads(normalizer.__getstate__())
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.post_processor = template("<s>", 1)
    return tokenizer


def fallback_decoder(strip):
    return decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
                             + ([decoders.Strip(" ", 1, 0)] if strip else []))


def llama2():
    marks = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    tokenizer = sentencepiece(None, marks, True)
    tokenizer.decoder = fallback_decoder(True)
    return with_strings_for_merges(tokenizer)


def mistral():
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer = sentencepiece(metaspace, None, False)
    tokenizer.add_special_tokens(["[INST]", "[/INST]"])
    tokenizer.decoder = fallback_decoder(True)
    return json.loads(tokenizer.to_str())


def metaspace():
    steps = [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(),
             normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    train(tokenizer, ["<unk>", "<|end|>"], 300)
    return json.loads(tokenizer.to_str())


def words():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFD()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation(),
                                                       pre_tokenizers.Digits()])
    train(tokenizer, ["<unk>"], 300)
    return json.loads(tokenizer.to_str())


def with_strings_for_merges(tokenizer):
    """Older files write a merge as "a b"."""
    data = json.loads(tokenizer.to_str())
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]
    return data


def golden(data):
    tokenizer = Tokenizer.from_str(json.dumps(data))
    rows = []
    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        rows.append({"text": text, "ids": ids, "ids_with_special": tokenizer.encode(text).ids,
                     "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                     "decoded_without_special": tokenizer.decode(ids, skip_special_tokens=True)})
    return rows


STYLES = [gpt2, llama3, qwen2, several_splits, digits, llama2, mistral, metaspace, words]


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    for style in STYLES:
        data = style()
        write = lambda name, value: (folder / name).write_text(
            json.dumps(value, ensure_ascii=True, separators=(",", ":")) + "\n")
        write(f"{style.__name__}.json", data)
        write(f"{style.__name__}.golden.json", golden(data))


if __name__ == "__main__":
    main()
