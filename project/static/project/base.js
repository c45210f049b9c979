// What the pages share.

export const $ = (id) => document.getElementById(id);

const number = new Intl.NumberFormat("en");

export function many(count, noun) {
  return `${number.format(count)} ${noun}${count === 1 ? "" : "s"}`;
}

async function copy(event) {
  const button = event.target;
  const code = button.closest(".command").querySelector("code");
  try {
    await navigator.clipboard.writeText(code.textContent); // missing on plain-HTTP hosts
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

document.querySelectorAll(".copy").forEach((button) => button.addEventListener("click", copy));
