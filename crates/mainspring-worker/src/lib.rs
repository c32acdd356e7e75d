//! The worker loop: claims deliveries from any queue driver and drives handlers.
