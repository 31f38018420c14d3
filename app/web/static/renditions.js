/** Renditions: the small pictures of the gallery, and the widths of a copied tag. */

const FORMAT = "webp";
// A phone, a column and a whole screen; of what the service offers the nearest are taken.
const OF_A_TAG = [640, 1080, 1920], OF_A_FRAME = [256, 384, 640];

let offered = [];

/** Keep the *widths* that the service offers; a service of before has none. */
export function offerWidths(widths = []) {
  offered = widths;
}

/** Return the widths and the format of a copied tag, for the signature; null where there are none. */
export const ofATag = () => (offered.length ? { widths: nearest(OF_A_TAG), format: FORMAT } : null);

/** Return `srcset` and `sizes` of a picture in the gallery. */
export const ofAFrame = (address) => (offered.length
  ? { srcset: srcset(nearest(OF_A_FRAME).map((w) => ({ w, url: `${address}?w=${w}&format=${FORMAT}` }))), sizes: "(max-width: 40rem) 50vw, 16rem" }
  : {});

/** Return the text of a `srcset` for pairs of a width and its address. */
export const srcset = (pairs) => pairs.map(({ w, url }) => `${url} ${w}w`).join(", ");

function nearest(wanted) {
  const distance = (width) => (one, other) => Math.abs(one - width) - Math.abs(other - width);
  return [...new Set(wanted.map((width) => [...offered].sort(distance(width))[0]))].sort((one, other) => one - other);
}
