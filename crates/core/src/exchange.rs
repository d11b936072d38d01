//! One exchange stream, without the stream.
