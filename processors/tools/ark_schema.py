"""The tables of ARK's databases, as ARK makes them."""

from collections.abc import Mapping
from typing import Final

__all__ = ["ARK", "IDS", "REASONING", "SCHEMAS"]

REASONING: Final = "reasoning_logs.db"
ARK: Final = "ark.db"

_REASONING: Final = """
CREATE TABLE IF NOT EXISTS reasoning_sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT UNIQUE NOT NULL,
    agent_name TEXT NOT NULL,
    query TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    final_output TEXT,
    metadata TEXT,
    overall_confidence REAL,
    total_duration_ms REAL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS idx_sessions_agent ON reasoning_sessions (agent_name, timestamp);
CREATE TABLE IF NOT EXISTS reasoning_stages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id TEXT NOT NULL,
    stage_name TEXT NOT NULL,
    stage_order INTEGER NOT NULL,
    input_data TEXT,
    output_data TEXT,
    traces TEXT,
    metadata TEXT,
    confidence REAL,
    duration_ms REAL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP
);
CREATE INDEX IF NOT EXISTS idx_stages_session ON reasoning_stages (session_id, stage_order)
"""
_ARK: Final = """
CREATE TABLE IF NOT EXISTS code_index (
    file_id TEXT PRIMARY KEY,
    file_path TEXT NOT NULL UNIQUE,
    module_name TEXT,
    functions TEXT,
    classes TEXT,
    imports TEXT,
    dependencies TEXT,
    embedding BLOB,
    complexity_score REAL,
    lines_of_code INTEGER,
    last_modified INTEGER,
    indexed_at INTEGER,
    trust_tier TEXT DEFAULT 'sandbox'
);
CREATE INDEX IF NOT EXISTS idx_code_trust_tier ON code_index (trust_tier);
CREATE TABLE IF NOT EXISTS code_patterns (
    pattern_id TEXT PRIMARY KEY,
    pattern_type TEXT NOT NULL,
    name TEXT,
    code_snippet TEXT NOT NULL,
    description TEXT,
    usage_examples TEXT,
    usage_count INTEGER DEFAULT 0,
    quality_score REAL DEFAULT 0.5,
    embedding BLOB,
    tags TEXT,
    created_at INTEGER,
    last_used INTEGER
);
CREATE TABLE IF NOT EXISTS sandbox_executions (
    execution_id TEXT PRIMARY KEY,
    code_hash TEXT NOT NULL,
    code_snippet TEXT,
    trust_tier TEXT DEFAULT 'sandbox',
    started_at INTEGER,
    completed_at INTEGER,
    duration_ms INTEGER,
    status TEXT NOT NULL,
    stdout TEXT,
    stderr TEXT,
    exit_code INTEGER,
    resource_usage TEXT,
    security_violations TEXT,
    validated_by TEXT,
    notes TEXT
)
"""

SCHEMAS: Final[Mapping[str, str]] = {REASONING: _REASONING, ARK: _ARK}
"""The statements that make the tables and indexes of a database file that are missing, by its name."""

IDS: Final[Mapping[str, str]] = {
    "reasoning_sessions": "session_id",
    "reasoning_stages": "session_id",
    "code_index": "file_id",
    "code_patterns": "pattern_id",
    "sandbox_executions": "execution_id",
}
"""The column with the text that tells a row's thing from others, by table."""
