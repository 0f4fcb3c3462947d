"""Recognises from a provider's message that it refused a text because it is too long."""

from __future__ import annotations

import re

_WORDS = re.compile(
    r"""
      context[ _](?:length|window|size)             # OpenAI, vLLM, Ollama, Voyage, llama.cpp
    | (?:max(?:imum)?|input)[ _](?:input[ _]|sequence[ _]|seq[ _])?length\b
    | maxLength                                     # Bedrock
    | (?<!took[ ])\btoo[ ]long\b
    | \btoo[ ](?:many|much)[ ](?:input[ ])?tokens    # Cohere, Bedrock, Mistral
    | \btokens?\b[^.;]{0,80}\bexceed               # Google, llama.cpp
    | \bexceed\w*\b[^.;]{0,80}\btokens?\b
    | \b(?:less|fewer)[ ]than[ ]\d+[ ]tokens        # Text Embeddings Inference
    | \btokens[ ]per[ ]request
    | \bonly[ ]supports[ ]up[ ]to                   # Vertex AI
    | \binput[ ]is[ ]too[ ]large                    # llama.cpp, with the status 500
    """,
    re.IGNORECASE | re.VERBOSE,
)


def is_too_long(words: str) -> bool:
    """Return whether a refusal says that a text, or all of them, have too many tokens."""
    return _WORDS.search(words) is not None
