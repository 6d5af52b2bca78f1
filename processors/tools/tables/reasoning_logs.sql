-- The tables of reasoning_logs.db, as ARK makes them. Only what is missing of them is made.

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
