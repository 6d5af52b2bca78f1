-- The tables of ark.db, as ARK makes them. Only what is missing of them is made.

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
