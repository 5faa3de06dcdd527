//! QR codes (ISO/IEC 18004) of provisioning URIs, as SVG: what an authenticator app reads.
//!
//! A drawing is as secret as its URI: it is told once, and kept nowhere. Deliberately absent: any
//! text in the drawing, and anything that it would have to fetch.

use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

/// Most bytes of what is drawn. [`crate::totp::uri`] is far shorter for the ids that there are.
pub const CONTENT_BYTES_MAX: usize = 512;
/// Most bytes of a drawing.
pub const SVG_BYTES_MAX: usize = 64 * 1024;
/// The white margin that a camera needs, in modules (ISO/IEC 18004, 6.3.8).
const MARGIN: usize = 4;

/// It cannot be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a QR code holds 1 to {CONTENT_BYTES_MAX} bytes")]
pub struct Unfit;

/// Draws the content: black on white whatever stands behind it, a run of modules a stroke.
///
/// # Errors
/// [`Unfit`] if it is empty or too long.
pub fn svg(content: &str) -> Result<Zeroizing<String>, Unfit> {
    if content.is_empty() || content.len() > CONTENT_BYTES_MAX {
        return Err(Unfit);
    }
    let code = QrCode::with_error_correction_level(content, EcLevel::M).map_err(|_| Unfit)?;
    let width = code.width();
    let side = width.saturating_add(2 * MARGIN);
    // Reserved first: a string that grows leaves copies of the secret in freed memory.
    let mut svg = Zeroizing::new(String::with_capacity(SVG_BYTES_MAX));
    svg.push_str(&format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h{side}v{side}H0z"/><path d=""##
    ));
    let modules = code.into_colors();
    for (y, row) in modules.chunks(width).enumerate() {
        let mut x = MARGIN;
        for run in row.chunk_by(|one, next| one == next) {
            if run.first() == Some(&Color::Dark) {
                let (y, length) = (y.saturating_add(MARGIN), run.len());
                svg.push_str(&format!("M{x} {y}h{length}v1h-{length}z"));
            }
            x = x.saturating_add(run.len());
        }
    }
    svg.push_str("\"/></svg>");
    Ok(svg)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]
mod tests {
    use super::*;
    use crate::secret::Seed;
    use crate::totp::{self, Parameters};
    use crate::{SeededEntropy, qr};

    /// What a camera sees of the drawing, and reads from it.
    fn read(svg: &str) -> String {
        let side: usize = between(svg, "viewBox=\"0 0 ", " ").parse().unwrap();
        let mut dark = vec![false; side * side];
        let strokes = svg.rsplit("d=\"").next().unwrap();
        for stroke in strokes.split('M').skip(1) {
            let (x, rest) = stroke.split_once(' ').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let (length, rest) = rest.split_once("v1h-").unwrap();
            assert!(rest.starts_with(&format!("{length}z")), "{stroke}");
            let (x, y): (usize, usize) = (x.parse().unwrap(), y.parse().unwrap());
            for along in 0..length.parse().unwrap() {
                dark[y * side + x + along] = true;
            }
        }
        const SCALE: usize = 4;
        let shade = |x: usize, y: usize| {
            if dark[y / SCALE * side + x / SCALE] {
                0
            } else {
                255
            }
        };
        let pixels = side * SCALE;
        let mut seen = rqrr::PreparedImage::prepare_from_greyscale(pixels, pixels, shade);
        let grids = seen.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
        text.split_once(before)
            .unwrap()
            .1
            .split_once(after)
            .unwrap()
            .0
    }

    #[test]
    fn a_camera_reads_the_uri_back() {
        for (seed, account) in [
            (1, "C00001U1"),
            (2, "A"),
            (3, "MOST-CHARACTERS-OF-A-NAME-0123456789"),
        ] {
            let seed = Seed::random(&SeededEntropy::new(seed));
            let uri = totp::uri(&seed, Parameters::default(), "Clearing House", account);
            let uri = uri.unwrap();
            let drawn = qr::svg(&uri).unwrap();
            assert_eq!(read(&drawn), *uri);
            assert!(!drawn.contains(&*seed.text()), "nothing is told in letters");
        }
    }

    #[test]
    fn a_drawing_is_bounded_and_refers_to_nothing() {
        let longest = "x".repeat(CONTENT_BYTES_MAX);
        let drawn = svg(&longest).unwrap();
        assert_eq!(read(&drawn), longest);
        assert!(drawn.len() < SVG_BYTES_MAX, "{} bytes", drawn.len());
        assert_eq!(drawn.capacity(), SVG_BYTES_MAX, "it never grew");
        for bad in ["href", "script", "url(", "<image", "<text", "<!"] {
            assert!(!drawn.contains(bad), "{bad}");
        }
        assert_eq!(svg(&format!("{longest}x")).err(), Some(Unfit));
        assert_eq!(svg("").err(), Some(Unfit));
    }
}
