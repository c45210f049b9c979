# run: set up and serve the demo · test: set up and run the suite · check: lint, types, deployment
# soak: real processes under random faults for so many MINUTES; prints the report
PORT ?= 8000
PYTHON ?= python3
MINUTES ?= 30
BIN := .venv/bin
export DJANGO_DEBUG ?= 1

.PHONY: run test soak check install format clean

run: .venv/installed
	@$(BIN)/python -m project.port "$(PORT)"
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python manage.py demo_data
	@$(BIN)/python manage.py demo_rows --if-empty
	@exec $(BIN)/python manage.py runserver --noreload $(PORT)

test: .venv/installed
	PYTHONDEVMODE=1 $(BIN)/python -m pytest $(ARGS)

soak: .venv/installed
	@$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(ARGS)

check: .venv/installed .venv/checkers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python manage.py makemigrations --check --dry-run
	DJANGO_DEBUG=0 DJANGO_HTTPS=1 REDIS_URL=redis://localhost:6379/0 \
		DJANGO_SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') \
		$(BIN)/python manage.py check --deploy --fail-level WARNING

format: .venv/checkers
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: .venv/installed

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@echo "Making a virtual environment in .venv"
	@$(PYTHON) -m venv .venv
	@touch $@

.venv/installed: requirements.txt .venv/python
	@echo "Installing requirements.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/checkers: requirements-check.txt .venv/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-check.txt
	@touch $@

clean:
	rm -rf .venv db.sqlite3*
