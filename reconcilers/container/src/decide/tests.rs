//! Tables, and properties over a model of the engine.
