#!/usr/bin/env python3
"""Trains the tokenizer of the research world's models: SentencePiece BPE with openPangu's markers and settings.

    pip install -r requirements.txt
    npm run build:bench && node dist/bench/models/export.js --worlds 300 --out runs.jsonl
    python make_tokenizer.py runs.jsonl tokenizer/

As openPangu's file: identity normaliser, no dummy prefix, white space kept, byte fallback, markers as control pieces. The world's fixed
words are pieces with the spaces round them, so that a name is written with the same pieces wherever it stands; names are left to the
merges, which are made to end at syllables: whole names of the training split must not become pieces.
"""
import json
import pathlib
import re
import sys

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb

UNUSED = [f"[unused{i}]" for i in range(34)]
RELATIONS = ("birthplace spouse teacher employer birth mayor bridge region twin charter founder seat rival director opening source mouth "
             "explorer branch capital governor neighbour poet author publisher hero setting").split()
KINDS = "person town company river book".split()  # region is a relation as well
ROLES = ["系统：", "用户：", "助手：", "工具：", "方法："]
PHRASES = [
    # the runtime's and the system turn's
    "Answer from the encyclopedia.", "\n\n", "Tools: ", "search", "open", "query", "title", "recall", "(query)", "(title)",
    "After ===PROGRESS=== judge your last step.", "===PROGRESS===", "===PROGRESS===\n<reason>", "</reason>\n<value>", " TRUE ", " FALSE ",
    "</value>\n===END_PROGRESS===", "===MEMORY===", "\n===END_MEMORY===", "<reason>", "</reason>", "<value>", "</value>", "===END_PROGRESS===",
    " /no_think", "TRUE", "FALSE", " Sought the ",
    '[{"name":"search","arguments":{"query":"', '[{"name":"open","arguments":{"title":"', '[{"name":"recall","arguments":{"id":"', '"}}]',
    # planners
    "Ask the seekers.", "seeker", "(task)", "Ask for each.", '[{"name":"seeker","arguments":{"task":"', '"}},{"name":"seeker","arguments":{"task":"',
    # questions
    "Name ", "the ", "'s ", "Begin at ", ". Go to the ", ", then the ", ". Where do you end?", "Who or what is the ", " of ", " of the ", "?",
    # thinking
    "Plan: ", ", ", ". Seek the ", "Seek the ", "The ", " is ", ". Done.", "Done.", "Need the ", "No ", " here. ", "Ask for the ", "Moved. ",
    "Follow.", "Not useful. ", "Not listed. ", "Wrong. The ",
    # pages and results
    " is a ", ", once ", ",", " and the ", "north", "south", "east", "west", " | ", "\n", ": ", " (", ")", " (old)", ".", ". ", "As ", " has ",
    "About ", "This page has moved to ", "Old copy. ", "Advert. ", " at ", " tickets", " postcards", " lamps", " tours", "Buy ", "tickets",
    "postcards", "lamps", "tours", " today. Best prices.", "Few visitors come.", "Winters are long.", "Old songs tell of it.",
    "Many letters survive.", "Maps show it in red.", "It is rarely seen.", "No results.", "Error: No such page.", ", is a ", "(o", " Sought the ", "===MEMORY===\n", "(id)", "Go on.", "Answer now.",
]
# Added last. What a page lists follows its relation directly, so that it is found by the piece before it; years are two pieces.
LISTED = [*(f"{word}: " for word in RELATIONS), *(f"{n:02}" for n in range(100))]
FIRST = [onset + rime for onset in "BDFGHJKLMNPRSTVZ" for rime in "al en or ir us ey".split()]
MIDDLE = "ba de go ki la mo nu pe ri sa ti vo".split()
LAST = ("bal dan dor fen gar hul jan kas len lin mar mel mir mon nia pol ros sel tan tor van vel vik wyn zan beth dris goth holm krin lund "
        "noth").split()


def pieces_of(text):
    return text.replace(" ", "▁")


def train(lines, names):
    """The pieces that are phrases come from the list, those of names from their syllables; the trainer lays out the rest of the file."""
    import io
    model = io.BytesIO()
    defined = list(dict.fromkeys(pieces_of(p) for p in [*PHRASES, *ROLES, *RELATIONS, *KINDS]))
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter([*lines, *names]), model_writer=model, model_type="bpe", vocab_size=256 + 3 + len(defined) + 34 + 200,
        byte_fallback=True, normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False, split_digits=True,
        character_coverage=1.0, user_defined_symbols=defined, control_symbols=UNUSED, allow_whitespace_only_pieces=True, pad_id=-1,
        minloglevel=2, num_threads=1, hard_vocab_limit=False)
    proto = pb.ModelProto()
    proto.ParseFromString(model.getvalue())
    proto.trainer_spec.input[:] = []
    normal = pb.ModelProto.SentencePiece.NORMAL
    # Merges that lead to syllables from their front, consonant clusters first: then every name is cut in one way. Trained merges over the
    # end of one syllable and the beginning of the next would cut names of other splits in other ways.
    merges = sorted({s[:k] for s in [*FIRST, *MIDDLE, *LAST] for k in range(2, len(s) + 1)}, key=lambda s: (len(s), s[1] in "aeiouy", s))
    kept = [p for p in proto.pieces if p.type != normal]
    # Printable ASCII by itself, so that other text is letters rather than bytes.
    for piece in [*merges, *(chr(c) for c in range(33, 127)), "▁"]:
        if piece not in {p.piece for p in kept}:
            kept.append(pb.ModelProto.SentencePiece(piece=piece, score=-float(len(kept)), type=normal))
    defined = pb.ModelProto.SentencePiece.USER_DEFINED
    kept.extend(pb.ModelProto.SentencePiece(piece=pieces_of(p), score=0.0, type=defined) for p in LISTED)
    del proto.pieces[:]
    proto.pieces.extend(kept)
    return proto


def main(runs, folder):
    texts = {"".join(p[0] for p in json.loads(line)["pieces"]) for line in open(runs)}
    lines = sorted({piece for text in texts for piece in re.split(r"\[unused\d+\]|<s>", text) if piece})
    lines = [line for line in lines if len(line) < 4000][:20000]
    names = [f + m + e for f in FIRST for e in LAST for m in ["", *MIDDLE]]
    proto = train(lines, names)
    ids = {p.piece: i for i, p in enumerate(proto.pieces)}
    added = sorted((ids[text], text) for text in [*UNUSED, "<unk>", "<s>", "</s>"])
    config = {
        "add_bos_token": True, "add_eos_token": False,
        "added_tokens_decoder": {str(i): {"content": t, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                                          "special": True} for i, t in added},
        "bos_token": "<s>", "clean_up_tokenization_spaces": False, "eos_token": "[unused10]", "legacy": True, "pad_token": "<unk>",
        "sp_model_kwargs": {}, "spaces_between_special_tokens": False, "tokenizer_class": "PanguTokenizer", "unk_token": "<unk>",
    }
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(proto.SerializeToString())
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n")
    roles = {k: config[k] for k in ("bos_token", "eos_token", "pad_token", "unk_token")}
    (folder / "special_tokens_map.json").write_text(json.dumps(roles, indent=1) + "\n")
    audit(folder, lines, names, len(ids))


def audit(folder, lines, names, size):
    """Names must be their syllables, and everything else in world text whole pieces."""
    processor = spm.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    wrong = [n for n in names if [p for p in processor.encode_as_pieces(n)] != split(n)]
    syllables = {*FIRST, *MIDDLE, *LAST}
    defined = {pieces_of(p) for p in [*PHRASES, *ROLES, *RELATIONS, *KINDS, *LISTED]}
    odd = {}
    for line in lines:
        for piece in processor.encode_as_pieces(line):
            if piece not in syllables and piece not in defined and not piece.isdigit():
                odd.setdefault(piece, line)
    print(f"{size} pieces; {len(wrong)} of {len(names)} names not by syllables {wrong[:8]}; other pieces {dict(list(odd.items())[:8])}")
    for name in wrong[:5]:
        print(name, processor.encode_as_pieces(name))


def split(name):
    first, rest = name[:3], name[3:]
    return [first, rest] if rest in LAST else [first, rest[:2], rest[2:]]


if __name__ == "__main__":
    main(*sys.argv[1:3])
